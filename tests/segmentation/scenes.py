"""Scenes whose clusters are known."""

import numpy as np


def blobs(sizes=(300, 200, 100), width=5, distance=6.0, noise=1.0, rows=20, seed=0):
    """Features (rows, -1, width) and classes (rows, -1) of Gaussian clouds of known sizes, in random places of the scene."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = distance * np.linalg.qr(rng.standard_normal((width, width)))[0][: len(sizes)]
    features = centres[classes] + noise * rng.standard_normal((len(classes), width))
    return features.reshape(rows, -1, width), classes.reshape(rows, -1), centres


def disc(rows=40, columns=60, y=20, x=28, radius=9):
    """A mask (rows, columns) of a disc."""
    down, across = np.mgrid[:rows, :columns]
    return (down - y) ** 2 + (across - x) ** 2 <= radius**2
