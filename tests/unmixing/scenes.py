"""Linear mixtures with known endmembers, abundances and noise."""

import numpy as np


def mixtures(count, bands=40, pixels=1500, snr_db=None, most=1.0, pure=False, seed=0):
    """Endmembers (R, B), abundances (n, R), pixels (n, B). No abundance is above `most`; `pure` appends pure pixels."""
    rng = np.random.default_rng(seed)
    endmembers = rng.uniform(0.05, 1, (count, bands))
    drawn = rng.dirichlet(np.ones(count), 10 * pixels)
    abundances = drawn[drawn.max(1) <= most][:pixels]
    if pure:
        abundances = np.vstack([abundances, np.eye(count)])
    spectra = abundances @ endmembers
    if snr_db is not None:
        spectra = spectra + rng.standard_normal(spectra.shape) * np.sqrt(np.square(spectra).mean() / 10 ** (snr_db / 10))
    return endmembers, abundances, spectra
