"""What `tests.bench.data` measures on: sizes, and folders of MATLAB files in the layout of HSIDermoscopy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

BANDS = 16
SCENES = 4
KEY = "DataCubeC"


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        files: images that are ingested.
        frame: (H, W) of each.
        size: pixels of the crops in the store, and of a batch.
        small: how many small files are ingested for the memory, before and after the tenfold growth.
        small_frame: (H, W) of those.
        rounds: how often the sides take turns.
        batch: cubes a batch.
    """

    files: int
    frame: tuple[int, int]
    size: int
    small: tuple[int, int]
    small_frame: tuple[int, int]
    rounds: int
    batch: int


FULL = Scale(333, (272, 512), 224, (100, 1000), (24, 32), 5, 32)
QUICK = Scale(140, (68, 128), 48, (70, 700), (24, 32), 1, 16)


def write_source(root: Path, count: int, frame: tuple[int, int], seed: int = 0) -> int:
    """Write `count` images with one mask each, a quarter of them melanomas, and return the bytes of the images.

    Phantom lesions, mirrored sideways to the frame's width, with noise of a sensor that differs from file to file, float32.
    Uncompressed, the quickest to read, as no one knows of the real files how they were saved. The crops of the masks
    are as large as the phantom's: 0.32 to 0.84 of the frame's height.
    """
    scenes = _scenes(frame)
    total = 0
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        cube = scenes[number % SCENES] + np.float32(0.006) * rng.standard_normal((*frame, BANDS), dtype=np.float32)
        folder, name = _name(number)
        image = root / "images" / folder / f"{name}.mat"
        mask = root / "masks" / folder / f"{name}_00.png"
        for path in (image, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(image, {KEY: cube}, do_compression=False)
        Image.fromarray(_ellipse(frame, rng)).save(mask)
        total += image.stat().st_size
    return total


def _name(number: int) -> tuple[str, str]:
    if number % 4 == 0:
        return "MMCube", str(number)
    return ("OtherCube", f"Nv{number}") if number % 8 == 1 else ("DNCube", str(number))


def _scenes(frame: tuple[int, int]) -> list[np.ndarray]:
    from hyperderm.phantom.rendering import phantom

    h, w = frame
    left = (w - h) // 2
    sides = ((0, 0), (left, w - h - left), (0, 0))
    return [np.pad(one.lesion.cube.reflectance, sides, mode="symmetric") for one in phantom(SCENES, h, 0)]


def _ellipse(frame: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    h, w = frame
    across, down = rng.uniform(0.16, 0.42, 2) * h / 1.5  # half axes; the crop is 1.5 times the mask
    y, x = np.ogrid[:h, :w]
    inside = ((x - rng.uniform(0.3, 0.7) * w) / across) ** 2 + ((y - h / 2) / down) ** 2 <= 1
    return inside.astype(np.uint8) * 255
