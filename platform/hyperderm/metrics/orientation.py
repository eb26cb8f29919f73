"""The eight flips and quarter turns of a square image: a lesion has no up, no left and no handedness."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ORIENTATIONS = 8
"""Number of orientations; orientation 0 is the identity."""


def orient(images: Tensor, orientation: int) -> Tensor:
    """Return images (…, S, S), mirrored if `orientation` is 4 or more, then turned by `orientation % 4` quarter turns."""
    turned = images.flip(-1) if orientation >= 4 else images
    return turned.rot90(orientation % 4, (-2, -1))


def restore(images: Tensor, orientation: int) -> Tensor:
    """Return images (…, S, S) that `orient` has brought into this orientation as they were before."""
    turned = images.rot90(-(orientation % 4), (-2, -1))
    return turned.flip(-1) if orientation >= 4 else turned
