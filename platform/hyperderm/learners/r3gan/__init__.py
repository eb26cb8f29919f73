"""R3GAN, which makes cubes from noise: small residual networks without normalisation (Huang et al., NeurIPS 2024)."""
