"""hyperderm: does synthetic hyperspectral dermoscopy data help? Answered honestly, on a laptop or a cluster."""

__version__ = "0.1.0"
