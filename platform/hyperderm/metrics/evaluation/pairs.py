"""Scores of pairs: each synthetic cube beside the real cube that is nearest to it, by spectral angle or by thumbnail.

A synthetic cube has no partner, so it is given the nearest one of a gallery: the held-out cubes, and beside them train. Both
galleries have their own yardstick, because a larger gallery has nearer cubes: real cubes that search the same gallery. For
the held-out cubes these are the train cubes, for train the held-out ones. A set that is nearer to train than real cubes are
shows copies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hyperderm.metrics import neighbours, perceptual, similarity, spectral
from hyperderm.metrics.description import Metric
from hyperderm.metrics.evaluation.scores import Comparison, CubeGroup, Score, Scores, Table, of_values
from hyperderm.metrics.subsampling import Rows

METRICS: dict[str, Metric] = {
    metric.key: metric
    for module in (neighbours, spectral, similarity, perceptual)
    for metric in module.METRICS
    if metric.kind == "pair"
}
BY_ANGLE = ("sam", "sid", "relative_rmse", "ergas", "rase", "rase_as_published")
BY_THUMBNAIL = ("psnr", "ssim", "ms_ssim", "ms_gmsd", "mdsi", "haarpsi")


@dataclass(eq=False)
class Nearest:
    """The nearest cubes of a gallery for the cubes of another group; searched once, when first asked for.

    Attributes:
        query: the cubes that search.
        gallery: the cubes that are searched. A derived cube may find the lesion that it was made from.
    """

    query: CubeGroup
    gallery: CubeGroup

    @cached_property
    def by_angle(self) -> tuple[Table, Rows]:
        """The angles (N,) and the rows (N,) of the gallery."""
        return neighbours.nearest_by_angle(self.query.cubes, self.gallery.cubes)

    @cached_property
    def by_thumbnail(self) -> tuple[Table, Rows]:
        """The distances (N,) and the rows (N,) of the gallery."""
        return neighbours.nearest_by_thumbnail(self.query.cubes, self.gallery.cubes)

    def values(self, key: str, data_range: float) -> Table:
        """Return the values (N,) of one metric of pairs; relative errors are means over bands.

        Raises:
            CubeError: the cubes are too small for the metric, or have too few bands.
        """
        if key == "sam_nearest":
            return self.by_angle[0]
        if key == "thumbnail_nearest":
            return self.by_thumbnail[0]
        rows = self.by_angle[1] if key in BY_ANGLE else self.by_thumbnail[1]
        found = _function(key, data_range)(self.query.cubes, self.gallery.cubes[torch.from_numpy(rows)])
        return found.mean(1) if found.ndim == 2 else found


def pair_scores(scores: Scores, synthetic: CubeGroup, how: Comparison) -> dict[str, Nearest]:
    """Add the scores of all metrics of pairs in both galleries, and return the searches of synthetic cubes by gallery."""
    searches = {}
    for gallery, other in ((how.held_out, how.train), (how.train, how.held_out)):
        made, real = Nearest(synthetic, gallery), Nearest(other, gallery)
        searches[gallery.name] = made
        family = "held_out" if gallery is how.held_out else "train"
        for key in METRICS:
            name = f"{family}/nearest/{key}"

            def make(name: str = name, key: str = key, made: Nearest = made, real: Nearest = real) -> Score:
                values, level = (each.values(key, how.data_range) for each in (made, real))
                return of_values(name, METRICS[key], values, level, _note(key, how))

            scores.attempt(name, make)
    return searches


def _function(key: str, data_range: float) -> Callable[[Tensor, Tensor], Table]:
    function = METRICS[key].function
    if key in BY_THUMBNAIL:
        return lambda x, y: function(x, y, data_range)
    return lambda x, y: function(x, y)


def _note(key: str, how: Comparison) -> str:
    """Return what must be known beside a value of this metric."""
    height, width = how.train.cubes.shape[2:]
    if key == "ms_ssim":
        weights = similarity.ms_ssim_scales(height, width)
        return f"{len(weights)} of {len(similarity.SCALES)} scales, weights {', '.join(f'{w:.3f}' for w in weights)}"
    if key == "ms_gmsd":
        weights = perceptual.ms_gmsd_scales(height, width)
        return f"{len(weights)} of {len(perceptual.GMSD_SCALES)} scales, weights {', '.join(f'{w:.3f}' for w in weights)}"
    return f"data range {how.data_range:.3f}" if key in BY_THUMBNAIL else ""
