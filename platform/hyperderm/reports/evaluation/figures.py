"""All figures of an evaluation of one synthetic set, with captions that say what they show and what they cannot."""

import re
from functools import partial

from hyperderm.metrics.evaluation.measure import UNSCALED, Measured
from hyperderm.metrics.evaluation.scores import Comparison
from hyperderm.reports.document import Drawing
from hyperderm.reports.evaluation.cube_figures import angle_maps, contact_sheet, nearest_pairs, three_bands
from hyperderm.reports.evaluation.score_figure import REACH, score_forest
from hyperderm.reports.evaluation.set_figures import embedding, level_histograms, mean_spectra


def drawings(found: Measured, how: Comparison, prefix: str) -> tuple[Drawing, ...]:
    """Return every figure of a set; none is drawn before it is asked for.

    Args:
        found: what was measured.
        how: the comparison.
        prefix: begins the names of the figures, such as `shsgan-1`, so that several sets fit into one report; "" for none.
    """
    name, start = found.synthetic.name, f"{prefix}-" if prefix else ""
    made = (
        Drawing(
            f"{start}scores",
            partial(score_forest, found, how),
            f"Forest plot of all scores of {name}, each in units of the range of real cubes.",
            f"Each row is a score in units of what real cubes reach: the grey band holds 95 % of real sets of this size. "
            f"Right of it is worse (or, for diamonds, higher), left of it better (or lower); values beyond {REACH:.0f} end "
            "in an arrow. About one honest score in twenty lies outside the band by chance, and rows are not independent. A "
            "set that is better than real against train, but not against held-out cubes, is near to copies.",
        ),
        Drawing(
            f"{start}cubes",
            partial(contact_sheet, found, how),
            f"Contact sheet: cubes of {name} beside held-out cubes and above train cubes, in pseudo-RGB.",
            "Cubes in pseudo-RGB, all at one gain and white balance that come from train, so that too bright and too dark "
            "cubes look so. They are evenly spread over each set by diagnosis, not chosen; real cubes are of the synthetic "
            "set's diagnoses, if there are such. Most of what the bands hold cannot be seen in three colours.",
        ),
        Drawing(
            f"{start}bands",
            partial(three_bands, found, how),
            f"The shortest, the middle and the longest band of cubes of {name} and of held-out cubes, in grey.",
            "The shortest, the middle and the longest band of the same cubes; black and white are the ends of train's "
            "common range in that band, and greys are encoded as in photographs. Noise and blur of single bands are seen "
            "here, errors of the bands between are not.",
        ),
        Drawing(
            f"{start}spectra",
            partial(mean_spectra, found, how),
            f"Mean spectra of lesion and skin of {name}, held-out and train cubes, with their spread, by diagnosis.",
            "Mean over cubes of the mean spectra of lesion and skin; bands and thin lines are ± 1 standard deviation "
            "between cubes, which one cube does not have. Numbers of cubes stand in the order of the key. The lesion is "
            "found by a program in each cube, whose faults move the curves; few cubes of a diagnosis say little.",
        ),
        Drawing(
            f"{start}levels",
            partial(level_histograms, found),
            f"Histograms of the level metrics of {name} and of held-out cubes.",
            "Values of single cubes in common bins, as shares of each set; triangles are the means. Equal histograms do not "
            "make equal cubes, and one bad cube widens the axis for all.",
        ),
        Drawing(
            f"{start}angles",
            partial(angle_maps, found, how),
            f"Cubes of {name}, their nearest held-out cubes, and maps of the spectral angle between them.",
            "Spectral angle at each pixel to the nearest held-out cube, at 32 px at most; the cubes are evenly spread from "
            "the nearest to the furthest. The colours end at four times the mean angle of real cubes, where that is known. "
            "The cubes are not aligned, so that lesions of other shape differ along their borders; brightness is not seen. "
            "Grey pixels have no spectrum.",
        ),
        Drawing(
            f"{start}pairs",
            partial(nearest_pairs, found, how),
            f"The cubes of {name} that are nearest to train, with their nearest train and held-out cubes.",
            "Look for copies here: the cubes with the smallest spectral angle to a train cube, with that train cube and the "
            "nearest held-out cube. An angle to train far below both that to held-out cubes and that of real cubes is a "
            "copy's. Copies that are turned, mirrored or moved may be missing: the memorisation audit searches for those.",
        ),
    )
    return made + tuple(_embedding(found, how, start, space) for space in found.features if space != UNSCALED)


def _embedding(found: Measured, how: Comparison, start: str, space: str) -> Drawing:
    slug = re.sub(r"[^a-z0-9]+", "-", space.lower()).strip("-")
    return Drawing(
        f"{start}embedding-{slug}",
        partial(embedding, found, how, space),
        f"Principal components and t-SNE of the features of {found.synthetic.name}, held-out and train cubes: {space}.",
        f"Features of the space {space}: the first two principal components of all cubes drawn (a thousand at most), and "
        "t-SNE. Synthetic cubes apart from both real sets are unlike them; gaps in their cloud are missing variety. Two "
        "dimensions hide differences in all others, and distances and sizes of clouds in t-SNE mean little.",
    )
