"""A hierarchical variational autoencoder of cubes or abundances, after the Very Deep VAE (Child 2021)."""

from hyperderm.learners.hvae.config import HvaeConfig

__all__ = ["HvaeConfig"]
