"""All SQL of the project. Knows no language model and no Dagster."""
