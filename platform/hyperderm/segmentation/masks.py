"""Lesion masks without a drawn one: from the clusters of a segmentation, and by Otsu's threshold to compare with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperderm.cubes.regions import Mask, annotation_image, fill_holes, heaviest_part, otsu_threshold
from hyperderm.errors import CubeError

RIM = 0.05
"""Width of the frame's border, in shorter sides (at least one pixel)."""
CENTRE = 0.25
"""Half axes of the ellipse that is the frame's centre, as a share of the sides."""
_REMEDY = "Draw its mask, or ask for another number of clusters."


@dataclass(frozen=True, eq=False)
class ClusterMask:
    """A lesion mask made from a label map.

    Attributes:
        mask: (H, W) bool, one connected region without holes.
        clusters: the labels that lie inside the frame, ascending; one of two clusters, up to K − 1 of K.
        border: (K,) share of each cluster among the labelled pixels of the frame's border, 0 to 1.
        centre: (K,) the same for the frame's centre.
    """

    mask: Mask
    clusters: tuple[int, ...]
    border: NDArray[np.float64]
    centre: NDArray[np.float64]


def cluster_mask(labels: NDArray[np.integer]) -> ClusterMask:
    """Return the lesion mask of a label map (H, W), in which −1 marks pixels without a label.

    A cluster lies inside the frame if its share of the centre is larger than its share of the border. The border is 5 % of
    the shorter side wide; the centre is an ellipse with half axes of 25 % of the sides. The lesion is all clusters that lie
    inside, because with three or more clusters a lesion often has a dark and a pale one. Of these pixels the largest
    connected part (8 neighbours) is kept, and its holes are filled. A lesion far from the centre, or one that fills the
    frame, is not found; where the dark edge of a vignetted frame is a cluster of its own, skin lies inside too and is taken
    for lesion.

    On 24 phantom lesions of 48 px with k-means of their spectra, the mean Dice is .86, .87 and .85 for 2, 3 and 4 clusters;
    the cluster that lies inside most clearly, taken alone, has .86, .81 and .68, and Otsu's threshold .83. On 24 stand-in
    cubes from PH2 at 136 x 256 px, whose frames are vignetted, it is .64, .79 and .80 with k-means of spectra of unit length
    (.64, .79, .75 alone), .45, .49 and .42 of raw ones, and .27 for Otsu's threshold.

    Raises:
        CubeError: the labels are not (H, W), the border or the centre has no label, or no cluster lies inside.
    """
    if labels.ndim != 2 or labels.size == 0:
        raise CubeError(f"a label map of shape {labels.shape}", "Give (H, W).")
    border, centre = _shares(labels, _border(labels.shape)), _shares(labels, _centre(labels.shape))
    inside = np.flatnonzero(centre > border)
    if not inside.size:
        raise CubeError("no cluster lies inside the frame: each has as much of the border as of the centre", _REMEDY)
    return ClusterMask(_one_region(np.isin(labels, inside)), tuple(inside.tolist()), border, centre)


def otsu_mask(reflectance: NDArray[np.floating]) -> Mask:
    """Return the lesion mask (H, W) of a cube (H, W, B) by Otsu's threshold on the mean of all bands.

    The dark side of the threshold counts. As in `cluster_mask`, its largest connected part is kept and holes are filled.
    Nothing else is done: `cubes.regions.lesion_region` also evens out the light. Missing pixels never belong to the lesion
    unless they are holes in it.

    Raises:
        CubeError: no pixel is finite, or all have the same value.
    """
    grey = annotation_image(reflectance).astype(np.float64)
    known = np.isfinite(grey)
    if not known.any():
        raise CubeError("no lesion can be found: every value of the image is missing", _REMEDY)
    dark = known & (np.where(known, grey, np.inf) <= otsu_threshold(grey[known]))
    if not dark.any() or dark[known].all():
        raise CubeError("no lesion can be found: the image is the same everywhere", _REMEDY)
    return _one_region(dark)


def _one_region(mask: Mask) -> Mask:
    return fill_holes(heaviest_part(mask, np.ones(mask.shape)))


def _shares(labels: NDArray[np.integer], where: Mask) -> NDArray[np.float64]:
    """Return the share (K,) of each cluster among the labelled pixels of a region."""
    here = labels[where & (labels >= 0)]
    if not here.size:
        raise CubeError("the border or the centre of the frame has no labelled pixel", _REMEDY)
    return np.bincount(here, minlength=int(labels.max()) + 1) / here.size


def _border(shape: tuple[int, ...]) -> Mask:
    width = max(1, round(RIM * min(shape)))
    border = np.ones(shape, dtype=np.bool_)
    border[width:-width, width:-width] = False
    return border


def _centre(shape: tuple[int, ...]) -> Mask:
    """Return the pixels within the ellipse; the middle of each side has the coordinate ±1/2."""
    y, x = ((np.arange(side) + 0.5) / side - 0.5 for side in shape)
    return np.asarray(np.hypot(y[:, None], x[None, :]) <= CENTRE)
