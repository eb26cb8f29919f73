"""The report that describes a store."""
