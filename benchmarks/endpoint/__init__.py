"""The endpoint of the benchmarks: it needs little CPU, and has limits, latencies and counts.

It is apart from the stand-in because its CPU would disturb what is measured on the same cores; limits and the
forms of bodies are shared. Its texts are canned instead of written.
"""
