"""The classic augmentation of a whole batch at once, on the device that trains: one bilinear resampling a cube."""

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
"""An image of OpenCV 5 has no more channels; with more it writes nothing, and says nothing."""
WORTH_THREADS = 2**18
"""Values of a cube below which threads cost more than they bring."""


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
    are copied. Borders are reflected and the edge of a cut is repeated as there. On a CPU, OpenCV moves all bands of a
    pixel together and rounds positions to 1/32 pixel; elsewhere torch moves the batch.

    Args:
        size: H = W of the cubes.
    """

    def __init__(self, size: int) -> None:
        self.size, self._pipeline = size, classic(size)

    @torch.no_grad()
    def __call__(self, cubes: Tensor | Sequence[Tensor], keys: Sequence[int]) -> Tensor:
        """Return augmented cubes: see `Augmentation`, but computed where the cubes are.

        Args:
            cubes: n of (B, H, W). On a CPU those whose memory is (H, W, B) are taken as they lie.
            keys: n numbers, see `Augmentation`.

        Returns:
            (n, B, H, W); of float32 on a CPU the memory is (n, H, W, B).
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


def classic_batch(size: int) -> BatchAugmentation:
    """Return the seed project's classifier augmentation (METHODS section 2), computed by the batch.

    Args:
        size: H = W of the cubes.
    """
    return BatchAugmentation(size)


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


def remap(cubes: Tensor | Sequence[Tensor], drawn: Sequence[Geometry]) -> Tensor:
    """Move n cubes (B, S, S) on a CPU, on as many threads as torch has: see `BatchAugmentation`."""
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
    """Write `image` (S, S, B) as `geometry` moves it into `into`."""
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
    """(size,) as `_along`, of one cube."""
    at = np.arange(size)[:: -1 if turned else 1]
    length = end - begin
    return np.clip((at + 0.5) * (length / size) - 0.5, 0, length - 1) + begin
