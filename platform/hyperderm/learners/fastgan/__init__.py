"""FastGAN (Liu et al. 2021), a generator for few images, with its self-supervised discriminator."""

from hyperderm.learners.fastgan.config import FastGanConfig

__all__ = ["FastGanConfig"]
