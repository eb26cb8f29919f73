"""The scored cubes of a generator that are kept for pictures: those of the last validation, and a few over training.

Validation makes its cubes from the same noise (or the same conditions) each time. So the first cubes of every validation
show how each of them changes while the generator learns, and whether they become alike.
"""

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hyperderm.store.run_location import RunLocation, content_of, put
from hyperderm.training.run_folder import OVER_TRAINING, REBUILT, SAMPLES

if TYPE_CHECKING:
    from torch import Tensor

    from hyperderm.training.report import Report

SAMPLES_KEPT = 64
FOLLOWED = 8
"""Number of cubes that are followed over training."""
FOLLOWED_SIDE = 32
"""Largest side in pixels of the cubes that are followed; larger ones are averaged over areas."""
MOMENTS = 12
"""Largest number of validations whose cubes are kept; of more, every second one is dropped."""

Cubes = NDArray[np.float32]


def keep_samples(report: "Report", folder: RunLocation) -> None:
    """Save the first scored cubes, at most `SAMPLES_KEPT`, in `samples.npy`, and add the first few to `over_training.npz`.

    Both hold (n, B, H, W) reflectance. Held-out cubes and how they are rebuilt, if the report has them, are
    `rebuilt.npy`, (2, k, B, h, w). Nothing is saved if the report holds no cubes.
    """
    if report.cubes is None:
        return
    buffer = io.BytesIO()
    np.save(buffer, report.cubes[:SAMPLES_KEPT].numpy())  # in memory: numpy does not report a full disk
    put(folder, SAMPLES, buffer.getvalue())
    moments = over_training(folder)
    moments[report.images] = _small(report.cubes[:FOLLOWED])
    buffer = io.BytesIO()
    small = {str(images): moments[images].astype(np.float16) for images in thinned(list(moments))}
    np.savez(buffer, allow_pickle=False, **small)
    put(folder, OVER_TRAINING, buffer.getvalue())
    if report.rebuilt is not None:
        buffer = io.BytesIO()
        np.save(buffer, np.stack([_small(cubes) for cubes in report.rebuilt]))
        put(folder, REBUILT, buffer.getvalue())


def over_training(folder: RunLocation) -> dict[int, Cubes]:
    """Return the followed cubes (n, B, h, w) of a run by the number of images shown before, in rising order."""
    content = content_of(folder, OVER_TRAINING)
    if content is None:
        return {}
    with np.load(io.BytesIO(content)) as held:
        return {int(name): held[name].astype(np.float32) for name in sorted(held.files, key=int)}


def rebuilt(folder: RunLocation) -> Cubes | None:
    """Return held-out cubes and how the run last rebuilt them, (2, k, B, h, w); None if it rebuilds none."""
    content = content_of(folder, REBUILT)
    if content is None:
        return None
    held: Cubes = np.load(io.BytesIO(content))
    return held


def thinned(moments: list[int]) -> list[int]:
    """Return at most `MOMENTS` of the moments in rising order; the first and the last are always among them."""
    kept = sorted(moments)
    while len(kept) > MOMENTS:
        kept = [kept[0], *kept[2:-1:2], kept[-1]]
    return kept


def _small(cubes: "Tensor") -> Cubes:
    from torch.nn.functional import adaptive_avg_pool2d

    side = min(cubes.shape[-1], FOLLOWED_SIDE)
    return adaptive_avg_pool2d(cubes, side).numpy()
