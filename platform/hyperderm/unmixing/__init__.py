"""Classical linear unmixing of pixels (n, B): endmembers by geometry, abundances by constrained least squares, scores."""
