"""The cube and the lesion: the types that every reader yields and every store holds."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.errors import CubeError

HSIDERMOSCOPY_NM: tuple[float, ...] = (
    465, 470, 482, 493, 503, 515, 530, 540, 544, 553, 568, 581, 590, 603, 611, 620,
)  # fmt: skip
"""Band centres (nm) of the 4x4 snapshot mosaic of HSIDermoscopy (METHODS section 1)."""

NOTES = "notes"
"""The key in a lesion's origin under which notes stand: a list of sentences that the user must see."""


@dataclass(frozen=True)
class Cube:
    """One hyperspectral image.

    Attributes:
        reflectance: (H, W, B) float32, calibrated reflectance; not bounded to [0, 1] (about -0.07 … 1.9).
        wavelengths_nm: (B,) float64 band centres, strictly increasing.

    Raises:
        CubeError: the cube does not have three axes, its bands and wavelengths disagree in number, the wavelengths do not
            increase, or a value is NaN or infinite.
    """

    reflectance: NDArray[np.float32]
    wavelengths_nm: NDArray[np.float64]

    def __post_init__(self) -> None:
        x = np.ascontiguousarray(self.reflectance, dtype=np.float32)
        nm = np.asarray(self.wavelengths_nm, dtype=np.float64)
        object.__setattr__(self, "reflectance", x)
        object.__setattr__(self, "wavelengths_nm", nm)
        if x.ndim != 3:
            raise CubeError(f"a cube has axes (H, W, B), this array has shape {x.shape}")
        if nm.shape != (x.shape[2],):
            raise CubeError(f"{x.shape[2]} bands but {nm.size} wavelengths")
        if np.any(np.diff(nm) <= 0):
            raise CubeError(f"wavelengths must increase, got {nm.tolist()}")
        bad = int(x.size - np.count_nonzero(np.isfinite(x)))
        if bad:
            raise CubeError(f"{bad} NaN or infinite values")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape (H, W, B)."""
        h, w, b = self.reflectance.shape
        return h, w, b


@dataclass(frozen=True)
class Lesion:
    """One row of a store: a cropped and resized lesion with its mask, diagnosis and origin.

    Attributes:
        lesion_id: unique in a store.
        image_id: the source image; several lesions may come from one image.
        group: the group that folds must not split (the patient, or the source image if patients are unknown).
        diagnosis: one of `DIAGNOSES`, or None if it is unknown.
        cube: the lesion's cube.
        mask: (H, W) bool, True on the lesion, or None.
        origin: the lesion's origin, JSON-serialisable. For files: `{"file", "sha256", "mask_file", "crop"}` with crop =
            [top, left, bottom, right] in source pixels, `stored` = the part of the crop that the cube shows (the centre of
            an oblong crop), `frame` = [height, width] of the source, `mask_share` = the part of the frame that the mask
            covers, `mask_stored` = the part of the mask that the cube shows, `mask` = how the mask was made if it is not a
            picture, and `NOTES` = notes for the user. For the phantom: `{"phantom": version, "seed", "index"}`.
    """

    lesion_id: str
    image_id: str
    group: str
    diagnosis: str | None
    cube: Cube
    mask: NDArray[np.bool_] | None
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.diagnosis is not None and self.diagnosis not in DIAGNOSES:
            raise CubeError(f"diagnosis {self.diagnosis!r} is not one of {', '.join(DIAGNOSES)}")
        if self.mask is not None and self.mask.shape != self.cube.shape[:2]:
            raise CubeError(f"mask of {self.mask.shape} on a cube of {self.cube.shape[:2]}")
