"""The service's database: SELECT on songs, SELECT and INSERT on song_aboutness, and nothing else."""
