"""What runs around hyperderm; nothing here is imported by the package."""
