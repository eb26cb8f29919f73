"""The metric of a decoder: distances of decoded spectra for a linear one, whatever the latent axes."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from hyperderm.errors import ConfigError
from hyperderm.segmentation.latent_metric import LatentMetric

RNG = np.random.default_rng(0)
LATENT, DECODER = RNG.standard_normal((50, 3)), RNG.standard_normal((3, 12))


def test_distances_are_those_of_decoded_spectra():
    metric = LatentMetric.fit(LATENT, LATENT @ DECODER + 5)
    np.testing.assert_allclose(pdist(metric.forward(LATENT)), pdist(LATENT @ DECODER), rtol=1e-9)
    np.testing.assert_allclose(metric.inverse(metric.forward(LATENT)), LATENT, atol=1e-9)


def test_other_latent_axes_give_the_same_distances():
    mixed = LATENT @ np.array([[10.0, 3, 0], [0, 0.1, 2], [1, 0, 1]]) - 4
    a, b = (LatentMetric.fit(each, LATENT @ DECODER).forward(each) for each in (LATENT, mixed))
    np.testing.assert_allclose(pdist(a), pdist(b), rtol=1e-8)


def test_a_direction_that_changes_nothing_does_not_count():
    wide = np.column_stack([LATENT, 100 * RNG.standard_normal(50)])
    metric = LatentMetric.fit(wide, LATENT @ DECODER)
    np.testing.assert_allclose(pdist(metric.forward(wide)), pdist(LATENT @ DECODER), rtol=1e-6)
    back = metric.inverse(metric.forward(wide))
    np.testing.assert_allclose(back[:, :3], LATENT, atol=1e-6)
    np.testing.assert_allclose(back[:, 3], wide[:, 3].mean(), atol=1e-6)


def test_what_has_no_metric():
    with pytest.raises(ConfigError, match="all equal"):
        LatentMetric.fit(LATENT, np.ones((50, 12)))
    with pytest.raises(ConfigError, match="50 latent vectors and 49"):
        LatentMetric.fit(LATENT, np.ones((49, 12)))
    with pytest.raises(ConfigError, match="0 of them finite"):
        LatentMetric.fit(LATENT, np.full((50, 12), np.nan))
