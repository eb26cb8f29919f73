"""One hyperspectral cube: its type, bands, crop, regions and pseudo-RGB. This package uses numpy and no torch."""
