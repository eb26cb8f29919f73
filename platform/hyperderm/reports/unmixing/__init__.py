"""The report of an unmixing: endmembers, abundance maps, errors."""
