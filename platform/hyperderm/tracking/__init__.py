"""Tracking in MLflow: the tree of runs, the pictures on runs, and a journal that survives the loss of the server."""
