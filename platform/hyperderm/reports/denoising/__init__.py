"""The report of a denoising: scores against the truth, spectra, pictures of what was taken away."""
