"""Our own Postgres (DAGSTER_PG_URL), schema aboutness_ops: what this project must remember between runs."""
