"""I am data, or arithmetic on it. I import nothing of ours."""
