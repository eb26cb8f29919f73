"""The classic augmentation of a whole batch at once, on the device that trains: one bilinear resampling a cube."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from hyperderm.learners.augmentation import Augmentation, classic


@dataclass(frozen=True)
class Geometry:
    """What happens to one cube, in this order.

    Attributes:
        affine: (2, 3) float64, (x, y, 1) in pixels after the shift and turn -> (x, y) before.
        box: x0, y0, x1, y1 in pixels, the ends exclusive: what is cut out and stretched back to the whole.
        across: whether left and right change places.
        down: whether top and bottom change places.
    """

    affine: np.ndarray
    box: tuple[int, int, int, int]
    across: bool = False
    down: bool = False

    def resamples(self, size: int) -> bool:
        """Return whether more than flips is done."""
        return self.box != (0, 0, size, size) or not np.array_equal(self.affine, np.eye(2, 3))


class BatchAugmentation:
    """`augmentation.classic` with its own draws: a key moves a cube in the same way here and there.

    Shift, turn, cut, stretch and flips are composed into one map from output to input pixels, so cubes are interpolated
    once where albumentations interpolates twice: fine texture keeps a little more contrast. Cubes that are only flipped
    are copied. Borders are reflected and the edge of a cut is repeated as there.

    Args:
        size: H = W of the cubes.
    """

    def __init__(self, size: int) -> None:
        self.size, self._pipeline = size, classic(size)

    @torch.no_grad()
    def __call__(self, cubes: Tensor, keys: Sequence[int]) -> Tensor:
        """Return augmented cubes: see `Augmentation`, but computed where the cubes are."""
        if cubes.shape[-2:] != (self.size, self.size):
            raise ValueError(f"cubes of {tuple(cubes.shape[-2:])} pixels, not {self.size} x {self.size}")
        drawn = [draw(self._pipeline, key, self.size) for key in keys]
        if len(drawn) != len(cubes):
            raise ValueError(f"{len(drawn)} keys for {len(cubes)} cubes")
        seen = torch.empty_like(cubes)
        moved = [row for row, geometry in enumerate(drawn) if geometry.resamples(self.size)]
        for part in portions(len(moved), cubes.device):
            rows = moved[part]
            x = cubes[rows] if len(rows) > 1 else cubes[rows[0]][None]  # of one cube, no copy
            for row, cube in zip(rows, resample(x.float(), [drawn[row] for row in rows]), strict=True):
                seen[row] = cube
        for row in set(range(len(cubes))) - set(moved):
            turned = ((-1, drawn[row].across), (-2, drawn[row].down))
            seen[row] = cubes[row].flip([axis for axis, wanted in turned if wanted])
        return seen


def classic_batch(size: int) -> BatchAugmentation:
    """Return the seed project's classifier augmentation (METHODS section 2), computed by the batch.

    On one core of a CPU three to four times as fast as `classic` at 224 px (`python -m tests.bench.augmentation`).

    Args:
        size: H = W of the cubes.
    """
    return BatchAugmentation(size)


def portions(count: int, device: torch.device) -> Iterator[slice]:
    """Yield slices that make up `count` cubes: all of them on a GPU, one a thread on a CPU.

    A CPU is quickest where intermediate results stay in its cache; fresh memory for a whole batch costs more than the sums.
    """
    step = torch.get_num_threads() if device.type == "cpu" else max(count, 1)
    return (slice(at, at + step) for at in range(0, count, step))


def draw(pipeline: Augmentation, key: int, size: int) -> Geometry:
    """Return what albumentations would do to a cube of `key`: its own transforms draw, in their own order."""
    pipeline.seed(key)
    affine, box, flips = np.eye(3), (0, 0, size, size), set()
    pipeline.compose.py_random.random()  # whether to do anything: the pipeline asks first
    for transform in pipeline.compose.transforms:
        name = type(transform).__name__
        if not transform.should_apply():
            continue
        found = transform.get_params_dependent_on_data({"shape": (size, size)}, {})
        if name == "Affine":
            affine = np.linalg.inv(found["matrix"])
        elif name == "RandomCropFromBorders":
            box = tuple(found["crop_coords"])
        else:
            flips.add(name)
    return Geometry(affine[:2], box, "HorizontalFlip" in flips, "VerticalFlip" in flips)


def resample(cubes: Tensor, drawn: Sequence[Geometry]) -> Tensor:
    """Return cubes (n, B, S, S) moved by n geometries: one bilinear interpolation, reflected borders."""
    size = cubes.shape[-1]
    boxes = torch.tensor([geometry.box for geometry in drawn]).to(cubes)  # (n, 4)
    x = _along(size, boxes[:, 0], boxes[:, 2], torch.tensor([geometry.across for geometry in drawn]))[:, None, :]
    y = _along(size, boxes[:, 1], boxes[:, 3], torch.tensor([geometry.down for geometry in drawn]))[:, :, None]
    m = torch.from_numpy(np.stack([geometry.affine for geometry in drawn])).to(cubes)[..., None, None]  # (n, 2, 3, 1, 1)
    half = (size - 1) / 2  # align_corners: -1 and 1 are the centres of the first and the last pixel
    along = [(m[:, axis, 0] * x + (m[:, axis, 2] - half)) / half for axis in (0, 1)]  # (n, 1, S)
    grid = torch.stack([along[axis] + m[:, axis, 1] / half * y for axis in (0, 1)], -1)  # (n, S, S, 2)
    return grid_sample(cubes, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


def _along(size: int, begin: Tensor, end: Tensor, turned: Tensor) -> Tensor:
    """(n, size) where the pixels of one axis come from, before the cut [begin, end) was stretched to `size`."""
    at = torch.arange(size, device=begin.device, dtype=begin.dtype)
    at = torch.where(turned.to(begin.device)[:, None], at.flip(0), at)
    length = (end - begin)[:, None]
    inside = ((at + 0.5) * (length / size) - 0.5).clamp_min(0)
    return torch.minimum(inside, length - 1) + begin[:, None]
