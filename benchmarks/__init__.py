"""Benchmarks: ratios, measured side by side in one run against an endpoint of their own."""
