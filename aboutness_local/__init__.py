"""aboutness-local: an embedded Postgres, a sample catalogue and a stand-in endpoint."""
