"""Tracking in MLflow: the tree of runs, the pictures on runs, and an event log that survives the loss of the server."""
