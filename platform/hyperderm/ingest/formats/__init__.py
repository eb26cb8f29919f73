"""File formats of hyperspectral images: each module finds and reads one format."""
