"""The classic augmentation of a whole batch at once, on the device that trains, with one bilinear resampling per cube."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from hyperderm.learners.augmentation import Augmentation, classic

MOST_BANDS = 128
"""Largest number of channels of an image in OpenCV 5, which silently writes nothing if there are more."""
WORTH_THREADS = 2**18
"""Number of values of a cube below which threads cost more time than they save."""


@dataclass(frozen=True)
class Geometry:
    """The geometric changes of one cube, in the order in which they are applied.

    Attributes:
        affine: (2, 3) float64 map from (x, y, 1) in pixels after the shift and turn to (x, y) before them.
        box: x0, y0, x1, y1 in pixels, the ends exclusive: the box that is cut out and stretched back to the full size.
        across: whether the cube is flipped left to right.
        down: whether the cube is flipped upside down.
    """

    affine: np.ndarray
    box: tuple[int, int, int, int]
    across: bool = False
    down: bool = False

    def resamples(self, size: int) -> bool:
        """Return whether the cube must be interpolated, that is, whether more than flips is done."""
        return self.box != (0, 0, size, size) or not np.array_equal(self.affine, np.eye(2, 3))


class BatchAugmentation:
    """The augmentation of `augmentation.classic`, with the same draws: a key moves a cube in the same way in both.

    Shift, turn, cut, stretch and flips are composed into one map from output to input pixels. So cubes are interpolated
    once, while albumentations interpolates twice; fine texture keeps a little more contrast. Cubes that are only flipped
    are copied. As in albumentations, borders are reflected and the edge of a cut is repeated. On a CPU, OpenCV moves all
    bands of a pixel together and rounds positions to 1/32 pixel; on other devices torch moves the batch.

    Args:
        size: H = W of the cubes.
    """

    def __init__(self, size: int) -> None:
        self.size, self._pipeline = size, classic(size)

    @torch.no_grad()
    def __call__(self, cubes: Tensor | Sequence[Tensor], keys: Sequence[int]) -> Tensor:
        """Return augmented cubes as `Augmentation` does, but computed on the device of the cubes.

        Args:
            cubes: n cubes (B, H, W). On a CPU, cubes whose memory layout is (H, W, B) are used without a copy.
            keys: n integers, see `Augmentation`.

        Returns:
            (n, B, H, W); on a CPU, float32 cubes have the memory layout (n, H, W, B).
        """
        if len(cubes) and cubes[0].shape[-2:] != (self.size, self.size):
            raise ValueError(f"cubes of {tuple(cubes[0].shape[-2:])} pixels, not {self.size} x {self.size}")
        drawn = [draw(self._pipeline, key, self.size) for key in keys]
        if len(drawn) != len(cubes):
            raise ValueError(f"{len(drawn)} keys for {len(cubes)} cubes")
        if isinstance(cubes, Tensor) and not len(cubes):
            return cubes
        if cubes[0].device.type == "cpu" and len(cubes[0]) <= MOST_BANDS:
            return remap(cubes, drawn)
        return self._resampled(cubes if isinstance(cubes, Tensor) else torch.stack(list(cubes)), drawn)

    def _resampled(self, cubes: Tensor, drawn: Sequence[Geometry]) -> Tensor:
        seen = torch.empty_like(cubes)
        moved = [row for row, geometry in enumerate(drawn) if geometry.resamples(self.size)]
        if moved:
            seen[moved] = resample(cubes[moved].float(), [drawn[row] for row in moved]).to(seen)
        for row in set(range(len(cubes))) - set(moved):
            turned = ((-1, drawn[row].across), (-2, drawn[row].down))
            seen[row] = cubes[row].flip([axis for axis, wanted in turned if wanted])
        return seen


def draw(pipeline: Augmentation, key: int, size: int) -> Geometry:
    """Return the geometry that albumentations would apply to a cube of `key`; its own transforms draw in their own order."""
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
    """Return cubes (n, B, S, S) moved by n geometries, with one bilinear interpolation and reflected borders."""
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
    """Return the source positions (n, size) of the pixels along one axis, for a cut [begin, end) stretched to `size`."""
    at = torch.arange(size, device=begin.device, dtype=begin.dtype)
    at = torch.where(turned.to(begin.device)[:, None], at.flip(0), at)
    length = (end - begin)[:, None]
    inside = ((at + 0.5) * (length / size) - 0.5).clamp_min(0)
    return torch.minimum(inside, length - 1) + begin[:, None]


def remap(cubes: Tensor | Sequence[Tensor], drawn: Sequence[Geometry]) -> Tensor:
    """Return n cubes (B, S, S) moved on a CPU, with as many threads as torch uses: see `BatchAugmentation`."""
    bands, size = cubes[0].shape[:2]
    seen = torch.empty(len(cubes), size, size, bands)
    slots = seen.numpy()

    def move(row: int) -> None:
        _moved(cubes[row].detach().permute(1, 2, 0).float().numpy(), slots[row], drawn[row])

    threads = min(torch.get_num_threads(), len(cubes))
    if threads == 1 or cubes[0].numel() < WORTH_THREADS:
        for row in range(len(cubes)):
            move(row)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(move, range(len(cubes))))
    return seen.permute(0, 3, 1, 2).to(cubes[0].dtype)


def _moved(image: np.ndarray, into: np.ndarray, geometry: Geometry) -> None:
    """Move `image` (S, S, B) by `geometry` and write the result into `into`."""
    size = len(image)
    if not geometry.resamples(size):
        into[:] = image[:: -1 if geometry.down else 1, :: -1 if geometry.across else 1]
        return
    x0, y0, x1, y1 = geometry.box
    x = _positions(size, x0, x1, geometry.across)[None, :]
    y = _positions(size, y0, y1, geometry.down)[:, None]
    m = geometry.affine
    where = [(m[axis, 0] * x + m[axis, 1] * y + m[axis, 2]).astype(np.float32) for axis in (0, 1)]
    image = np.ascontiguousarray(image)
    made = cv2.remap(image, where[0], where[1], cv2.INTER_LINEAR, dst=into, borderMode=cv2.BORDER_REFLECT_101)
    assert np.may_share_memory(made, into), made.shape


def _positions(size: int, begin: int, end: int, turned: bool) -> np.ndarray:
    """Return the source positions (size,) of one cube, as `_along` does for a batch."""
    at = np.arange(size)[:: -1 if turned else 1]
    length = end - begin
    return np.clip((at + 0.5) * (length / size) - 0.5, 0, length - 1) + begin
