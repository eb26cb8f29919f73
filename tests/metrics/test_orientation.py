"""The eight orientations are a group, and each is what numpy says."""

import numpy as np
import pytest
import torch

from hyperderm.metrics.orientation import ORIENTATIONS, orient, restore

IMAGE = torch.arange(9.0).view(1, 3, 3)


def test_the_eight_differ_and_the_first_is_the_identity():
    views = {tuple(orient(IMAGE, k).flatten().tolist()) for k in range(ORIENTATIONS)}
    assert len(views) == 8
    assert torch.equal(orient(IMAGE, 0), IMAGE)


@pytest.mark.parametrize("k", range(8))
def test_numpy_agrees_and_any_two_in_a_row_are_one_of_them(k):
    mirrored = np.flip(IMAGE.numpy(), -1) if k >= 4 else IMAGE.numpy()
    np.testing.assert_array_equal(orient(IMAGE, k), np.rot90(mirrored, k % 4, (-2, -1)))
    assert torch.equal(restore(orient(IMAGE, k), k), IMAGE)
    views = [orient(IMAGE, j) for j in range(8)]
    assert all(any(torch.equal(orient(view, k), other) for other in views) for view in views)
