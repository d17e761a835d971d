"""Ways to do the same work, one a file, each run in a process of its own so that its CPU can be told."""
