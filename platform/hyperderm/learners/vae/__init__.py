"""A variational autoencoder of cubes (METHODS section 6), class-conditional or not."""
