"""Spectral autoencoder of single pixels (deepHSI; METHODS section 8): networks, loss terms and normalisation of spectra."""
