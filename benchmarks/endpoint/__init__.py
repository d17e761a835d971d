"""The endpoint of the benchmarks: as little CPU as possible, limits and latencies as told, and counts."""
