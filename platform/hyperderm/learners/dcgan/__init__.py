"""DCGAN (Radford et al. 2016): cubes from noise, and the ladder from its discriminator to the critic of SHS-GAN."""

from hyperderm.learners.dcgan.config import DcganConfig

__all__ = ["DcganConfig"]
