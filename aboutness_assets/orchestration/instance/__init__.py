"""What dagster.yaml names: the storage and the launcher of the Dagster instance."""
