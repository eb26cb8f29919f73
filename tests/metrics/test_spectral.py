import numpy as np
import pytest
import torch
from torchmetrics.functional.image import spectral_angle_mapper

from hyperderm.metrics.spectra import largest_relative_error, spectral_angle


def test_known_angles():
    assert spectral_angle(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(np.pi / 4)
    assert spectral_angle(np.array([1.0, 2.0]), np.array([2.0, 4.0])) == pytest.approx(0, abs=1e-7)
    assert spectral_angle(np.array([1.0, 2.0]), np.array([-1.0, -2.0])) == pytest.approx(np.pi)
    assert spectral_angle(np.zeros(3), np.array([1.0, 2.0, 3.0])) == pytest.approx(np.pi / 2)


def test_is_the_angle_of_torchmetrics():
    a, b = np.random.default_rng(0).uniform(0.1, 1, (2, 16))
    theirs = spectral_angle_mapper(*(torch.from_numpy(v)[None, :, None, None] for v in (a, b)))
    assert spectral_angle(a, b) == pytest.approx(float(theirs), abs=1e-6)


def test_largest_relative_error_is_of_the_worst_band():
    assert largest_relative_error(np.array([1.0, 0.5, 2.0]), np.array([1.1, 0.4, 2.0])) == pytest.approx(0.2)
