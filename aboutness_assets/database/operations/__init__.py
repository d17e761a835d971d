"""Our own Postgres: what has to be remembered between runs and shared by processes."""
