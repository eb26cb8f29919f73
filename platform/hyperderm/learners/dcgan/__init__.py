"""DCGAN (Radford et al. 2016), which makes cubes from noise, with all critics from its own discriminator to SHS-GAN's."""

from hyperderm.learners.dcgan.config import DcganConfig

__all__ = ["DcganConfig"]
