"""What physics says of the sets of `orderings`: which damage a metric must notice, and which it cannot notice at all.

Every line has its reason, and the reason is not that it was measured so. A damage that no line names is left open: then the
table says what was found. What a metric cannot see by its construction must stand in its text `Metric.cannot` too.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from hyperderm.metrics.evaluation.measure import METRICS
from hyperderm.metrics.evaluation.orderings import CHANGES, COPIES, DARK, FEW, FRESH, Row, Sight, committed, sights, unmoved

BANDS = ("bands permuted", "bands exchanged")
BLURS = ("slight blur", "strong blur")
NOISES = ("weak noise", "strong noise", "pure noise")
GROSS = ("strong blur", "strong noise", "pure noise", "mean cube", "bands permuted")
DAMAGED = (*CHANGES, "pure noise", "mean cube")
CANNOT = "by construction cannot"


class Expectation(NamedTuple):
    """What is expected of some metrics.

    Attributes:
        metrics: a pattern of score keys, such as `*/nearest/sam`.
        why: the physical reason.
        sees: the sets whose damage must be noticed.
        cannot: the sets whose damage cannot be noticed.
        better: the sets that are taken for better than real cubes, because the metric rewards what was done to them.
    """

    metrics: str
    why: str
    sees: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()
    better: tuple[str, ...] = ()


EXPECTED: tuple[Expectation, ...] = (
    Expectation(
        *("mean_spectra/*_angle", "bands that changed places turn a mean spectrum; an angle has no length"),
        *(BANDS, ("half exposure",)),
    ),
    Expectation(
        *("mean_spectra/derivative_difference", "the steps between bands are those of other bands; the mean is divided out"),
        *(BANDS, ("half exposure",)),
    ),
    Expectation(
        *("mean_spectra/contrast_difference", "blood and melanin give every band its own contrast, noise has none, blur"),
        *(("bands permuted", "pure noise", "strong blur"), ("half exposure",)),
    ),
    Expectation(
        *("level/spectral_smoothness", "exchanged bands and noise bend spectra; no pixel is asked where it lies"),
        *((*BANDS, *NOISES), ("shifted", "half exposure")),
    ),
    Expectation(
        *("level/spectral_entropy", "strong noise makes spectra uneven; a sum over bands has no order, shares no gain"),
        *(("strong noise", "pure noise"), (*BANDS, "shifted", "half exposure")),
    ),
    Expectation(
        *("level/signature_angle", "bands that changed places turn the spectrum of the lesion; an angle has no length"),
        *(BANDS, ("half exposure",)),
    ),
    Expectation(
        *("level/total_variation", "blur and averages level neighbours, noise parts them; bands are averaged"),
        *((*BLURS, *NOISES, "mean cube"), BANDS),
    ),
    Expectation(
        *("level/variance", "strong noise adds its variance, half the light leaves a quarter; no place, bands averaged"),
        *(("strong noise", "pure noise", "half exposure"), (*BANDS, "shifted")),
    ),
    Expectation(
        *("level/spatial_entropy", "noise widens the histogram of a fixed range, half the light halves it (one bit)"),
        *(("strong noise", "pure noise", "half exposure"), (*BANDS, "shifted")),
    ),
    Expectation(
        *("level/signal_to_noise", "blur and averages remove noise; signal and noise share a gain; bands are averaged"),
        *((*BLURS, *NOISES, "mean cube"), (*BANDS, "half exposure")),
    ),
    Expectation(
        *("level/spectrum_slope", "blur removes high frequencies, white noise fills them; a gain moves all; bands averaged"),
        *((*BLURS, *NOISES), (*BANDS, "half exposure")),
    ),
    Expectation("*/nearest/sam", "spectra turn by other bands and by noise; an angle has no length",
                (*BANDS, *NOISES), ("half exposure",)),
    Expectation("*/nearest/sam", "noise and texture of one cube are not those of its partner, and smooth cubes have less",
                better=("strong blur", "mean cube")),
    Expectation("*/nearest/sam_nearest", "as the angle, but both directions count: too near is not real either",
                (*BANDS, *NOISES, "strong blur", "mean cube"), ("half exposure",)),
    Expectation("*/nearest/sid", "shares of the spectrum change with other bands and with noise, not with a gain",
                (*BANDS, *NOISES), ("half exposure",)),
    Expectation("*/nearest/thumbnail_nearest", "other bands are far, an average is near; exposure is divided out",
                ("bands permuted", "mean cube"), ("half exposure",)),
    *(
        Expectation(f"*/nearest/{key}", "the brightest band is seven times as bright as the darkest", ("bands permuted",))
        for key in ("relative_rmse", "ergas", "rase", "rase_as_published", "psnr", "ssim", "ms_ssim", "mdsi", "haarpsi")
    ),
    *(
        Expectation(f"*/nearest/{key}", "white noise is structure that no other cube shares", ("strong noise", "pure noise"))
        for key in ("ssim", "ms_ssim")
    ),
    Expectation("train/nearest/*", "a copy has its original as its nearest cube, nearer than any other lesion", (COPIES,)),
    Expectation("held_out/nearest/*", "copies of real cubes are as far from other lesions as real cubes are", (),
                (COPIES,)),
    Expectation("*/spectral/energy", "level, spread and gradients of bands change with every one of these",
                (*BLURS, *BANDS, *NOISES, "half exposure", "mean cube", DARK)),
    Expectation("*/spectral/two_sample_auroc", "level or gradients of some band tell each cube",
                (*BLURS, *BANDS, *NOISES, "half exposure", "mean cube")),
    *(
        Expectation(f"*/{space}/{key}", "no camera makes such cubes: neither texture nor colour stays the same", GROSS)
        for space in ("inception", "lite0")
        for key in ("frechet", "kernel", "two_sample_auroc")
    ),
    Expectation("*/frechet_unscaled", "as the Fréchet distance of the scaled weights", GROSS),
    *(
        Expectation(f"held_out/*/{key}", "copies of train are one more sample of the law of real cubes", (), (COPIES,))
        for key in ("energy", "frechet", "kernel", "precision", "density")
    ),
    Expectation("train/*/frechet", "cubes of the reference itself are nearer to it than a second sample", (COPIES,)),
    *(
        Expectation(f"*/{key}", "five lesions have little spread: covariances and distances within shrink", (FEW,))
        for key in ("energy", "frechet")
    ),
    *(
        Expectation(f"*/{key}", "whichever real cubes are lost, those that are left lie in balls of real cubes", (), (DARK,))
        for key in ("precision", "density")
    ),
    Expectation("*/recall", "cubes that repeat themselves have tiny balls, which hold no real cube", ("mean cube", FEW)),
    Expectation("*/coverage", "one cube or five lie in few balls; noise is not as near to real cubes as they are",
                ("mean cube", FEW, "strong noise", "pure noise")),
)  # fmt: skip
"""Some expectations did not hold when they were first measured. They were given up, each for a reason that the metrics'
texts now tell. Precision and density were to see noise: but a real outlier has a huge ball, and EfficientNet's features
of pure noise lie in it; coverage asks the other way round and holds. The thumbnail was to see pure noise: but it averages
16 pixels of a cube of 64 px, and the noise with them. Recall and coverage were to see that the brighter half of the
lesions is missing: but the networks hardly see brightness (half exposure leaves Inception's coverage as it is), so no
mode is missing in their features; the spectral energy distance sees it. Energy and kernel distance were to be blind to
copies of train: against train itself they fall slightly below the floor, since a cube is paired with its own copy."""
WORDS = {
    "slight blur": "blur",
    "strong blur": "blur",
    "shifted": "where",
    "bands permuted": "bands",
    "bands exchanged": "bands",
    "weak noise": "noise",
    "strong noise": "noise",
    "half exposure": "brightness|exposure",
    "pure noise": "noise",
    "mean cube": "average",
    COPIES: "copies",
    DARK: "modes",
    FEW: "modes",
}
"""What a text `Metric.cannot` says of a damage."""


class Told(NamedTuple):
    """What a metric says of a set, for a report.

    Attributes:
        metric: the score's key.
        set: the name of the set, of `orderings.SETS`.
        value: the value.
        verdict: how it stands to real cubes.
        sight: "sees", "does not see", "takes for better", or `CANNOT` where that is so by the metric's construction.
    """

    metric: str
    set: str
    value: float
    verdict: str
    sight: str


def ordering_table(rows: Sequence[Row] | None = None) -> list[Told]:
    """Return what every metric says of every set of `orderings.SETS`, by default as it was measured on phantom lesions."""
    found = committed() if rows is None else list(rows)
    sight = sights(found)
    blind = {(row.metric, row.set) for row in found for one in _of(row.metric) if row.set in one.cannot}

    def told(row: Row) -> str:
        at = (row.metric, row.set)
        return CANNOT if at in blind and sight[at] == "does not see" else sight[at]

    return [Told(row.metric, row.set, row.value, row.verdict, told(row)) for row in found]


def faults(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for every expectation that the rows do not hold, for metrics that they have."""
    sight, table = sights(rows), {(row.metric, row.set): row for row in rows}
    found = list[str]()
    for metric in dict.fromkeys(row.metric for row in rows):
        for name, one, wanted in _wanted(metric):
            row = table.get((metric, name))
            if row is None:
                found.append(f"{metric} has no value for {name}")
            elif not _holds(row, table[metric, FRESH], sight[metric, name], wanted):
                found.append(f"{metric} of {name}: {sight[metric, name]}, expected: {wanted}, for {one.why}")
    return found


def unsaid(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for every blindness that a metric's text `cannot` does not tell.

    That copies are as far from held-out cubes as real ones is no property of a metric of pairs, but of the reference; and
    that some lesions lie nearer than others is chance: only damaged cubes must not be taken for better without a word.
    """
    found = set[str]()
    for told in ordering_table(rows):
        metric = METRICS[told.metric.rpartition("/")[2]]
        blind = told.sight == CANNOT and not (told.set == COPIES and metric.kind == "pair")
        fooled = told.sight == "takes for better" and told.set in DAMAGED
        if (blind or fooled) and not re.search(WORDS[told.set], metric.cannot):
            found.add(f"{metric.key} {told.sight}: {told.set}, but it says: {metric.cannot}")
    return sorted(found)


def _of(metric: str) -> list[Expectation]:
    return [one for one in EXPECTED if fnmatchcase(metric, one.metrics)]


def _wanted(metric: str) -> Iterator[tuple[str, Expectation, str]]:
    for one in _of(metric):
        parts: Iterable[tuple[str, tuple[str, ...]]] = (
            ("sees", one.sees),
            (CANNOT, one.cannot),
            ("takes for better", one.better),
        )
        for wanted, names in parts:
            yield from ((name, one, wanted) for name in names)


def _holds(row: Row, fresh: Row, sight: Sight, wanted: str) -> bool:
    """Return whether an expectation holds.

    Where a set holds other cubes than the fresh ones, not to be seen is a matter of chance: one real sample of twenty leaves
    a range of 95 %. Then only twice that range must hold the value.
    """
    if wanted != CANNOT:
        return sight == wanted
    if row.set in CHANGES:
        return sight == "does not see" and unmoved(row, fresh)
    return sight != "sees" or abs(row.value - (row.real_low + row.real_high) / 2) <= row.real_high - row.real_low
