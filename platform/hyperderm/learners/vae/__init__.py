"""A variational autoencoder of cubes (METHODS section 6), class-conditional or not."""

from hyperderm.learners.vae.config import VaeConfig

__all__ = ["VaeConfig"]
