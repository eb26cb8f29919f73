"""torch networks, one file an architecture, in the symbols of its paper."""
