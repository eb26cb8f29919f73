"""What the classic augmentation of classifier batches costs: albumentations cube by cube, against one resampling a batch.

Batches of 32 cubes of 224 x 224 x 16 on one core, the same keys on both sides, timed in turn; medians are compared. The
spectral augmentation is timed beside, and what of it is drawing noise.
"""

import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch

SIZE, BANDS, BATCH, ROUNDS = 224, 16, 32, 7
WANTED = 2.0


def main() -> int:
    import cv2

    from hyperderm.cubes.cube import HSIDERMOSCOPY_NM
    from hyperderm.learners.augmentation import classic
    from hyperderm.learners.augmentation_settings import SpectralAugmentationConfig
    from hyperderm.learners.batch_augmentation import BatchAugmentation
    from hyperderm.learners.cube_augmentation import SpectralAugmentation
    from hyperderm.learners.scaling import Scaling

    print(f"a batch of {BATCH} cubes of {SIZE} x {SIZE} x {BANDS} on one core (medians of {ROUNDS}, timed in turn)")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    cubes = torch.rand(BATCH, BANDS, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    scaling = Scaling.fit(cubes)
    quiet = SpectralAugmentationConfig(shot_noise=0, read_noise=0)
    ways = {
        "albumentations": classic(SIZE),
        "the batch": BatchAugmentation(SIZE),
        "spectral": SpectralAugmentation(SpectralAugmentationConfig(), HSIDERMOSCOPY_NM, scaling),
        "spectral without noise": SpectralAugmentation(quiet, HSIDERMOSCOPY_NM, scaling),
    }
    seconds = _timed(ways, cubes)
    for name, each in seconds.items():
        print(f"  {name:24} {each * 1e3:8.0f} ms   {each / BATCH * 1e3:6.2f} ms a cube")
    ratio = seconds["albumentations"] / seconds["the batch"]
    print(f"  the batch against albumentations {ratio:.1f}x faster (wanted: at least {WANTED:.0f}x)")
    print(f"  noise takes {1 - seconds['spectral without noise'] / seconds['spectral']:.0%} of the spectral augmentation")
    return 0 if ratio >= WANTED else 1


def _timed(ways: dict[str, Callable], cubes: torch.Tensor) -> dict[str, float]:
    """Return the median seconds a batch of each way; the first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, augment in ways.items():
            begin = perf_counter()
            augment(cubes, range(turn * BATCH, (turn + 1) * BATCH))
            times[name].append(perf_counter() - begin)
    return {name: median(each[1:]) for name, each in times.items()}


if __name__ == "__main__":
    sys.exit(main())
