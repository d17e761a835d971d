"""I import dagster. The code location's assets, checks, jobs and sensors, and how Dagster shows them.

Does not belong here: what a run does (pipeline), what a criterion says (acceptance).
"""
