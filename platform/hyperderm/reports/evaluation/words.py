"""What is good, what is bad and what nobody can tell, in words that follow from the scores by fixed rules."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import norm, t

from hyperderm.metrics.evaluation.scores import Score
from hyperderm.metrics.memorisation import Audit
from hyperderm.reports.number_format import number
from hyperderm.studies.evaluation import Evaluated, Evaluation

FINE = ("as real", "better than real", "not told")
ACCUSED_AMONG = 1000
"""Of so many sets that have not seen the held-out lesions, one in twenty times one is accused of it."""
WORST = 3
"""Number of scores that a sentence names."""


@dataclass(frozen=True)
class Aspect:
    """One question about a set.

    Attributes:
        key: a short name.
        title: the question in words.
        keys: the scores that answer it.
    """

    key: str
    title: str
    keys: tuple[str, ...]


SPACES = ("inception", "lite0")
ASPECTS = (
    Aspect(
        "spectra",
        "spectra",
        (
            *(
                f"mean_spectra/{key}"
                for key in ("lesion_angle", "skin_angle", "contrast_difference", "derivative_difference")
            ),
            *(f"level/{key}" for key in ("spectral_smoothness", "spectral_entropy", "signature_angle")),
            *("held_out/nearest/sam", "held_out/nearest/sid", "held_out/spectral/energy"),
        ),
    ),
    Aspect(
        "texture",
        "texture and sharpness",
        (
            *(
                f"level/{key}"
                for key in ("total_variation", "variance", "spatial_entropy", "signal_to_noise", "spectrum_slope")
            ),
            *(f"held_out/nearest/{key}" for key in ("ms_gmsd", "haarpsi", "ssim")),
        ),
    ),
    Aspect(
        "realism",
        "realism as a whole",
        (
            *(f"held_out/{each}/{key}" for each in SPACES for key in ("frechet", "kernel", "precision", "two_sample_auroc")),
            "held_out/spectral/two_sample_auroc",
        ),
    ),
    Aspect("diversity", "diversity", tuple(f"held_out/{space}/{key}" for space in SPACES for key in ("recall", "coverage"))),
)


WELL = 0.8
"""Least share of changed train cubes that an audit must find, for its headline to say nothing of those that it misses."""


def answer(found: Evaluation) -> tuple[str, ...]:
    """Return a sentence for each set: in what it is as real cubes are, in what it is not, and whether it is new."""
    return tuple(_headline(each, found) for each in found.sets)


def _headline(each: Evaluated, found: Evaluation) -> str:
    held = f"{len(found.roles.held_out)} held-out lesions"
    fine = [aspect.title for aspect in ASPECTS if _counted(each, aspect) and not differing(each, aspect)]
    bad = [aspect.title for aspect in ASPECTS if differing(each, aspect)]
    parts = [f"unlike {held} in {listed(bad)}"] if bad else []
    parts += [f"as they are in {listed(fine)}" if bad else f"as {held} are in {listed(fine)}"] if fine else []
    told = f"{'; '.join(parts)}; " if parts else ""
    unknown = [aspect.title for aspect in ASPECTS if not _counted(each, aspect)]
    told += f"not judged in {listed(unknown)}; " if unknown else ""
    return f"{each.made.name} ({len(each.made.cubes)} cubes) is {told}{_new(each)}."


def _new(each: Evaluated) -> str:
    if each.audit is None:
        return "not audited for copies"
    memorised = each.memorised
    if near_held_out(each) and not memorised:
        return "nearer to the HELD-OUT lesions than real ones are: has its generator seen them?"
    if memorised is None:
        return "derived from train lesions, and no copies of other ones were found"
    if memorised and (each.audit.memorised or (each.recorded or {})["own"]["copies"]):
        return "NOT new: it holds copies of train lesions"
    if memorised:
        return "NOT new: its cubes resemble their own train lesions more than cubes made from unseen lesions resemble theirs"
    weak = each.audit.found < WELL * each.audit.changed
    told = f", by an audit that finds {each.audit.found} of {each.audit.changed}" if weak else ""
    return f"{'derived from train lesions, but ' if each.audit.derived else ''}no copies of train lesions were found{told}"


def details(found: Evaluation) -> tuple[str, ...]:
    """Return the scores that differ, a sentence for each aspect of each set, and one sentence on copies."""
    said = []
    for each in found.sets:
        name = f"{each.made.name}, " if len(found.sets) > 1 else ""
        bad = [aspect for aspect in ASPECTS if differing(each, aspect)]
        said += [f"{name}{aspect.title.capitalize()}: {_difference(each, aspect)}." for aspect in bad]
        said.append(f"{name}New or copied: {newness(each)}")
    return tuple(said)


def differing(each: Evaluated, aspect: Aspect) -> list[Score]:
    """Return the scores of an aspect that chance does not explain, the worst first.

    Ranges hold 95 % of the values of real cubes. So a score counts if it lies as far outside as one of the scores of all
    aspects does in one of twenty evaluations of real cubes (Bonferroni; ranges of quantiles are taken as of a normal law).
    """
    every = sum(each.measured.scores.get(key) is not None for one in ASPECTS for key in one.keys)
    scores = [score for key in aspect.keys if (score := each.measured.scores.get(key))]
    out = [score for score in scores if score.verdict not in FINE and distance(score) > _least(score, every)]
    return sorted(out, key=distance, reverse=True)


def _least(score: Score, among: int) -> float:
    """Return the distance that one of `among` scores of real cubes exceeds in one of twenty evaluations."""
    law = t(score.df) if score.df else norm
    return float(law.isf(0.025 / max(1, among)) / law.isf(0.025))


def near_held_out(each: Evaluated) -> bool:
    """Return whether cubes are nearer to held-out lesions than chance explains: their generator may have seen these."""
    score = each.measured.scores.get("held_out/nearest/sam_nearest")
    return score is not None and score.verdict == "below real" and distance(score) > _least(score, ACCUSED_AMONG)


def distance(score: Score) -> float:
    """Return how far a score lies outside the range of real cubes, in half-widths of that range."""
    if score.real_low is None or score.real_high is None:
        return 0.0
    half = (score.real_high - score.real_low) / 2
    middle = (score.real_high + score.real_low) / 2
    return abs(score.value - middle) / half if half > 0 else float("inf")


def newness(each: Evaluated) -> str:
    """Return the sentence on copies."""
    audit = each.audit
    if audit is None:
        return f"whether cubes are copies was not audited, because {each.audit_missing}."
    named = f"{len(audit.copies)} of {audit.synthetic} cubes are named as copies of "
    if not audit.derived:
        more = "more" if audit.memorised else "no more"
        return f"{named}train lesions, {more} than chance lets through ({power(audit)})."
    said = f"each cube keeps the geometry of a train lesion; {named}other train lesions"
    if audit.memorised:
        return f"{said}, more than chance lets through ({power(audit)})."
    said = f"{said} ({power(audit)})"
    own = (each.recorded or {}).get("own")
    if not own:
        return f"{said}; whether cubes copy their own lesion beyond its pseudo-RGB was not judged."
    verdict = "they copy" if own["memorised"] else "no sign that they copy"
    return (
        f"{said}; {verdict} their own lesion beyond its pseudo-RGB (of {own['changed']} such copies this judgement names "
        f"{own['found']})."
    )


def power(audit: Audit) -> str:
    """Return what this audit would find and what it would miss."""
    return (
        f"of {audit.changed} train cubes changed as a camera may change them this audit finds {audit.found} and would miss "
        f"{audit.changed - audit.found}; fewer than {audit.certain_from} copies may be chance"
    )


def cannot_tell(found: Evaluation) -> tuple[str, ...]:
    """Return what this evaluation cannot tell."""
    held = len(found.roles.held_out)
    said = [
        f"With {held} held-out lesions only differences outside the ranges of the tables can be seen; a score inside its "
        "range is no proof of equality. One score in twenty lies outside by chance; the sentences above allow for that.",
        "Whether a classifier gains from the set is another question: make ablation answers it.",
        "Below 200 cubes trust the kernel distance rather than the Fréchet distance.",
        "The feature spaces were trained on photographs of everyday things and see three folded channels.",
    ]
    if found.roles.role == "validation":
        said.append(
            "Validation also chose the checkpoint, so scores against it are optimistic; --final opens the test role."
        )
    return tuple(said)


def _counted(each: Evaluated, aspect: Aspect) -> bool:
    return any((score := each.measured.scores.get(key)) and score.verdict != "not told" for key in aspect.keys)


def _difference(each: Evaluated, aspect: Aspect) -> str:
    out = differing(each, aspect)
    count = sum(each.measured.scores.get(key) is not None for key in aspect.keys)
    named = "; ".join(_told(score) for score in out[:WORST])
    return f"{len(out)} of {count} scores lie outside what real cubes reach: {named}"


def _told(score: Score) -> str:
    assert score.real_low is not None
    assert score.real_high is not None
    space = score.key.split("/")[1] if score.metric.kind == "set" and score.key.count("/") == 2 else ""
    if score.key.startswith("held_out/nearest/"):
        space = "to the nearest held-out cube"
    return (
        f"{score.metric.title}{space and f' ({space})'} {amount(score.value)} {score.metric.unit}".rstrip()
        + f" ({score.verdict}: {amount(score.real_low)} to {amount(score.real_high)})"
    )


def amount(value: float) -> str:
    """Write a value with three or four digits that count."""
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        digits = 1 if abs(value) >= 10 else 3 if abs(value) >= 0.01 else 5
        return number(value, digits)
    return f"{value:.2e}".replace("-", "−")


def listed(names: Sequence[str]) -> str:
    """Join names with commas and a last "and"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
