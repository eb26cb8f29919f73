import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from hyperderm.learners.augmentation import BORDER, DEGREES, SHIFT, _ask_nobody, classic

SIZE = 32


@pytest.fixture(scope="module")
def augment():
    return classic(SIZE)


def cubes(n, bands=16, size=SIZE, seed=0):
    """Values from -3 to 5, smooth enough to be resampled."""
    return torch.rand(n, bands, size, size, generator=torch.Generator().manual_seed(seed)) * 8 - 3


def positions(n, size=SIZE):
    """Cubes of two bands that hold every pixel's own x and y: what comes out tells where it was."""
    y, x = torch.meshgrid(torch.arange(size).float(), torch.arange(size).float(), indexing="ij")
    return torch.stack([x, y])[None].repeat(n, 1, 1, 1)


def test_a_cube_and_its_key_alone_decide(augment):
    x, keys = cubes(12), list(range(100, 112))
    once = augment(x, keys)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    again = augment(x[order], [keys[i] for i in order])
    assert torch.equal(again, once[order])
    assert torch.equal(augment(x[5:6], keys[5:6]), once[5:6])
    assert torch.equal(classic(SIZE)(x, keys), once)  # nor what was drawn before


def test_other_keys_give_other_cubes_but_all_bands_move_together(augment):
    one = cubes(1)
    seen = augment(one.expand(64, -1, -1, -1), range(64))
    assert len({tuple(c.flatten()[:40].tolist()) for c in seen}) > 40
    same = augment(one[:, :1].expand(64, 16, -1, -1), range(64))
    assert (same - same[:, :1]).abs().max() == 0


def test_the_caller_s_cubes_and_generators_are_left_alone(augment):
    x = cubes(8)
    before, state = x.clone(), np.random.get_state()[1].copy()
    augment(x, range(8))
    assert torch.equal(x, before)
    assert (np.random.get_state()[1] == state).all()


def test_nothing_is_clipped_and_nothing_is_made_up(augment):
    """Means of neighbours only: every band stays within its own range, far outside [0, 1] as it may be."""
    x = cubes(200)
    seen = augment(x, range(200))
    assert seen.dtype == torch.float32
    assert (seen.amin((2, 3)) >= x.amin((2, 3)) - 1e-5).all()
    assert (seen.amax((2, 3)) <= x.amax((2, 3)) + 1e-5).all()
    assert seen.min() < -2.99
    assert seen.max() > 4.99
    flat = torch.full((50, 16, SIZE, SIZE), -2.5)
    torch.testing.assert_close(augment(flat, range(50)), flat)  # no black border comes in


def test_half_of_everything_and_each_for_itself(augment):
    """Flips, crops and turns are read off the positions; independent halves, not all or none of them together."""
    n = 600
    x, y = augment(positions(n), range(n)).unbind(1)
    middle = slice(8, 24)
    right, down = x[:, middle, 20] - x[:, middle, 12], y[:, 20, middle] - y[:, 12, middle]
    across, below = right.mean(1) < 0, down.mean(1) < 0
    step = right.mean(1).abs() / 8
    cropped = step < 0.999  # stretched back: neighbours are less than a pixel apart
    turn = (x[:, 20, middle] - x[:, 12, middle]).mean(1)
    turned = turn.abs() > 1e-3
    for share in (across, below):
        assert share.float().mean() == pytest.approx(0.5, abs=0.07)  # 3.4 standard errors
    assert turned.float().mean() == pytest.approx(0.5, abs=0.07)
    assert cropped.float().mean() == pytest.approx(0.49, abs=0.07)  # now and then the cut is less than a pixel
    for a, b in [(across, below), (across, turned), (below, cropped), (turned, cropped)]:
        assert (a & b).float().mean() == pytest.approx(float(a.float().mean() * b.float().mean()), abs=0.06)


def test_how_far_it_goes(augment):
    """At most 4°, shifts of a tenth, cuts of a fifth; and it does go nearly that far."""
    n = 600
    x, y = augment(positions(n), range(n)).unbind(1)
    along, over = x[:, 16, 20] - x[:, 16, 12], y[:, 16, 20] - y[:, 16, 12]
    down = (y[:, 20, 16] - y[:, 12, 16]).abs() / 8
    degrees = torch.rad2deg(torch.atan2(over / down, along)).abs()
    degrees = torch.minimum(degrees, 180 - degrees)
    assert 0.8 * DEGREES < degrees.max() < 1.8 * DEGREES  # the stretch of the crop widens the angle a little
    step = along.abs() / 8
    assert 1 - 2 * BORDER - 0.03 < step.min() < 1 - 1.5 * BORDER
    centre = torch.stack([x[:, 15:17, 15:17].mean((1, 2)), y[:, 15:17, 15:17].mean((1, 2))]) - (SIZE - 1) / 2
    reach = centre.abs().max() / SIZE
    assert SHIFT < reach < SHIFT + BORDER / 2 + 0.03


def test_any_number_of_bands_and_double_precision():
    for bands in (1, 3, 31):
        x = cubes(6, bands, 24).double()
        seen = classic(24)(x, range(6))
        assert seen.shape == x.shape
        assert seen.dtype == torch.float64
    assert classic(24)(x[:0], []).shape == (0, 31, 24, 24)


def test_as_many_keys_as_cubes(augment):
    with pytest.raises(ValueError, match="zip"):
        augment(cubes(3), [1, 2])


def test_albumentations_is_imported_without_its_question(augment):
    assert sys.modules["albumentations"].check_for_updates is _ask_nobody


@pytest.mark.slow
def test_no_request_leaves_the_process():
    """A plain import is counted too, so that the test can see a request."""
    code = textwrap.dedent(
        """
        import sys, urllib.request
        calls = []
        class Opener:
            def open(self, *a, **k):
                calls.append(a)
                raise OSError("no network here")
        urllib.request.build_opener = lambda *a: Opener()
        {first}
        sys.exit(len(calls))
        """
    )

    def asked(line):
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code.format(first=line)], check=False, env={}
        ).returncode

    assert asked("from hyperderm.learners.augmentation import classic; classic(32)") == 0
    assert asked("import albumentations") == 1
