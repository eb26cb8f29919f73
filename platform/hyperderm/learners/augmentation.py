"""Classic augmentation of classifier inputs, keyed by sample. Only geometry changes: new colours would invent spectra."""

import importlib
import random
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

SHIFT, DEGREES, BORDER = 0.1, 4.0, 0.2


class Augmentation:
    """An albumentations pipeline on cubes, seeded anew for every sample.

    `Compose.set_random_seed` would give every transform its own generator with the same seed: all transforms would then be
    applied together or not at all. Here all transforms draw in turn from one shared generator.

    Args:
        compose: an `albumentations.Compose` that takes and returns `image`, (H, W, B) float32.
    """

    def __init__(self, compose: Any) -> None:  # noqa: ANN401 - albumentations is imported late and has no types
        self.compose = compose

    def __call__(self, cubes: Tensor | Sequence[Tensor], keys: Sequence[int]) -> Tensor:
        """Return augmented cubes; nothing is clipped, and values stay within the range of their band.

        Args:
            cubes: (n, B, H, W) of any range, or n tensors (B, H, W).
            keys: n integers ≥ 0; the result for a cube depends on the cube and its key alone, not on the rest of the batch.

        Returns:
            (n, B, H, W) of the cubes' dtype and device, computed in float32.
        """
        seen = [self._one(cube, key) for cube, key in zip(cubes, keys, strict=True)]
        if isinstance(cubes, Tensor) and not seen:
            return cubes
        return torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).contiguous().to(cubes[0])

    def seed(self, key: int) -> None:
        """Seed the pipeline so that its next draws are those of `key`."""
        self.compose.set_random_state(np.random.default_rng(key), random.Random(key))  # noqa: S311 - not for secrets

    def _one(self, cube: Tensor, key: int) -> np.ndarray:
        image = np.ascontiguousarray(cube.detach().permute(1, 2, 0).float().cpu().numpy())
        self.seed(key)
        return np.asarray(self.compose(image=image)["image"])


def classic(size: int) -> Augmentation:
    """Return the seed project's classifier augmentation (METHODS section 2), without its resize to 224 px.

    Shift by up to 10 % of a side and turn by up to 4° about the centre with reflected borders (p .5); cut up to 20 % off
    every border (p .5) and stretch back to `size`; flip left to right (p .5) and upside down (p .5). Interpolation is
    bilinear. A cube of 32 px and 16 bands takes 0.2 ms on one core.

    Args:
        size: H = W of the cubes.
    """
    a = _albumentations()
    return Augmentation(
        a.Compose(
            [
                a.Affine(  # ShiftScaleRotate without scale; by that name it warns that it will go
                    scale=1.0,
                    translate_percent=(-SHIFT, SHIFT),
                    rotate=(-DEGREES, DEGREES),
                    interpolation=cv2.INTER_LINEAR,
                    border_mode=cv2.BORDER_REFLECT_101,
                    p=0.5,
                ),
                a.RandomCropFromBorders(BORDER, BORDER, BORDER, BORDER, p=0.5),
                a.Resize(size, size, interpolation=cv2.INTER_LINEAR),
                a.HorizontalFlip(p=0.5),
                a.VerticalFlip(p=0.5),
            ]
        )
    )


def _albumentations() -> ModuleType:
    """Import albumentations without the request to PyPI that it sends at its first import.

    Only an environment variable of the process switches the request off, and a learner may not set it. Therefore the module
    that sends the request is replaced during the import.
    """
    if "albumentations" not in sys.modules:
        silent = ModuleType("albumentations.check_version")
        silent.__dict__["check_for_updates"] = _ask_nobody
        sys.modules[silent.__name__] = silent
        try:
            return importlib.import_module("albumentations")
        finally:
            sys.modules.pop(silent.__name__, None)
    return importlib.import_module("albumentations")


def _ask_nobody() -> None:
    """Do nothing, in place of `check_for_updates`."""
