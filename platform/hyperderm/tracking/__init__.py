"""MLflow: the run tree, pictures on runs, and the outbox that survives a lost server."""
