"""I import OpenTelemetry: what a run counts, sent to a collector. Only where a setting names one."""
