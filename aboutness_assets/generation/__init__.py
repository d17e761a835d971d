"""Songs to texts: the words of the request, the reading of the answer. Knows no database and no Dagster."""
