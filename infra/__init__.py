"""The services around hyperderm; the package imports nothing from here."""
