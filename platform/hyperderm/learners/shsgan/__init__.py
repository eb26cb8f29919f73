"""SHS-GAN (Hauser et al., IEEE TCI 7, 2021): a generator that makes a cube from an RGB image."""

from hyperderm.learners.shsgan.config import ShsGanConfig

__all__ = ["ShsGanConfig"]
