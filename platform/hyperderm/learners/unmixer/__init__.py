"""The unmixing net: abundances by a network, endmembers by its decoder."""

from hyperderm.learners.unmixer.config import UnmixerConfig

__all__ = ["UnmixerConfig"]
