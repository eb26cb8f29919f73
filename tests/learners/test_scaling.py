import json

import torch

from hyperderm.learners.scaling import Scaling
from tests.training.tiny import blobs


def test_train_spans_minus_one_to_one_in_every_band():
    cubes = blobs(6).double()
    scaled = Scaling.fit(cubes).forward(cubes)
    torch.testing.assert_close(scaled.amin((0, 2, 3)), torch.full((16,), -1.0).double())
    torch.testing.assert_close(scaled.amax((0, 2, 3)), torch.full((16,), 1.0).double())


def test_inverse_is_exact_also_beyond_train_s_range():
    scaling, cubes = Scaling.fit(blobs(6)), blobs(6, seed=1).double() * 3 - 0.5
    torch.testing.assert_close(scaling.inverse(scaling.forward(cubes)), cubes, rtol=1e-12, atol=1e-12)


def test_survives_a_checkpoint_as_json():
    scaling = Scaling.fit(blobs(6))
    again = Scaling.from_state(json.loads(json.dumps(scaling.state_dict())))
    assert torch.equal(again.low, scaling.low)
    assert torch.equal(again.high, scaling.high)


def test_a_constant_band_stays_finite():
    cubes = blobs(6)
    cubes[:, 2] = 0.25
    scaling = Scaling.fit(cubes)
    assert torch.isfinite(scaling.forward(cubes)).all()
    torch.testing.assert_close(scaling.inverse(scaling.forward(cubes)), cubes)
