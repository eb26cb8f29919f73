"""hyperderm: does synthetic hyperspectral dermoscopy data help? An honest answer, computed on a laptop or a cluster."""

__version__ = "0.1.0"
