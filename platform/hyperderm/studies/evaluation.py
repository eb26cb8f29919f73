"""Evaluate synthetic sets: what was measured of each, its memorisation audit, and all of that as JSON values."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from hyperderm.errors import CubeError
from hyperderm.metrics.as_published import METRICS as PUBLISHED_METRICS
from hyperderm.metrics.as_published import as_published
from hyperderm.metrics.copy_search import CopySearch
from hyperderm.metrics.description import Metric
from hyperderm.metrics.evaluation.measure import METRICS, Measured, measure
from hyperderm.metrics.evaluation.scores import Comparison, Features, comparison, computed
from hyperderm.metrics.feature_spaces import FeatureSpace
from hyperderm.metrics.memorisation import Audit, Auditor, Law, Reference
from hyperderm.metrics.subsampling import DRAWS
from hyperderm.store.manifest import Opening
from hyperderm.studies.evaluated_sets import RealRoles, SyntheticSet

_SHARE = "It depends on the power of the audit, which stands beside it, and sees only what a camera may have changed."
AUDIT_METRICS = (
    Metric(
        "audit/similarity", "similarity to the train lesion that explains a cube best", CopySearch.search, "level", "lower",
        "", (None, None), None, "Fisher's z of the largest correlation over turns, mirrors, shifts, zooms: `copy_search`",
        "this project; normalised cross-correlation: Lewis 1995", "It cannot see likeness that is no copy of one lesion.",
    ),
    Metric(
        "audit/chance", "chance of such a similarity between different lesions", Law.p, "level", "as real",
        "", (0.0, 1.0), None, "survival function of Gumbel's law, fitted to train lesions of other groups",
        "Coles 2001, chapter 3", "It is an extrapolation beyond the similarities of train lesions.",
    ),
    Metric(
        "audit/copies", "number of copies", Auditor.result, "set", "lower",
        "", (0.0, None), 0.0, "number of cubes whose similarity lies beyond the threshold", "metrics.memorisation", _SHARE,
    ),
    Metric(
        "audit/share", "share of copies", Auditor.result, "set", "lower",
        "", (0.0, 1.0), 0.0, "copies / cubes", "metrics.memorisation", _SHARE,
    ),
    Metric(
        "audit/memorised", "whether the set is memorised", Auditor.result, "set", "lower",
        "", (0.0, 1.0), 0.0, "1 if chance does not explain the copies (binomial, p < 0.01), or one is beyond doubt",
        "metrics.memorisation", _SHARE,
    ),
)  # fmt: skip
"""The numbers of the memorisation audit, which `metrics.memorisation` describes."""
VERSION = 1
"""Version of the form of `metrics.json`."""
AUDITED_AT_ONCE = 64
"""Number of cubes that are audited together."""
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One set with everything that was found of it.

    Attributes:
        made: the set.
        measured: its metrics.
        audit: its memorisation audit; None if train is too small for one.
        audit_missing: why there is none, or "".
        recorded: the audit that `generate` recorded in the manifest, whose judgement of derived sets needs the generator.
    """

    made: SyntheticSet
    measured: Measured
    audit: Audit | None
    audit_missing: str = ""
    recorded: Mapping[str, Any] | None = None

    @property
    def memorised(self) -> bool | None:
        """Whether the set is memorised; None without an audit, and for a derived set whose own lesions were not judged.

        That judgement needs the generator, so it stands in the audit that `generate` recorded.
        """
        if self.audit is None or self.audit.memorised is not None:
            return self.audit.memorised if self.audit else None
        own = (self.recorded or {}).get("own")
        return bool(own["memorised"]) if own else None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All sets beside the same real cubes.

    Attributes:
        roles: the real cubes.
        how: the comparison, common to all sets.
        sets: the sets in the order of the request.
        opening: the test role that was opened; None if validation was read.
        published_real: the seeds' metrics in the seeds' way of train cubes in the place of synthetic ones; empty if the
            cubes do not suit them.
        missing: why a feature space is missing, a sentence each.
        facts: provenance of the run: commit, versions, tracking key.
    """

    roles: RealRoles
    how: Comparison
    sets: list[Evaluated]
    opening: Opening | None = None
    published_real: Mapping[str, float | None] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: every number with its description, and everything that is needed to repeat it."""
        held = self.roles
        return {
            "version": VERSION,
            "real": {
                "store": held.store.location.uri,
                "manifest": held.store.manifest.fingerprint,
                "fold": held.fold,
                "role": held.role,
                "size": held.size,
                "diagnoses": list(held.diagnoses),
                "train": len(held.train),
                "held_out": len(held.held_out),
                "range": {"low": self.how.low.tolist(), "high": self.how.high.tolist()},
                "notes": list(held.notes),
            },
            "test_opened": asdict(self.opening) if self.opening else None,
            "missing": list(self.missing),
            "facts": dict(self.facts),
            "as_published_of_train": dict(self.published_real),
            "sets": {each.made.name: _of_set(each) for each in self.sets},
            "metrics": {key: described(metric) for key, metric in {**METRICS, **_further_metrics()}.items()},
        }


def evaluate(
    roles: RealRoles,
    sets: Sequence[SyntheticSet],
    networks: Sequence[FeatureSpace] = (),
    features: Features = computed,
    draws: int = DRAWS,
    progress: Progress = lambda what: None,
) -> Evaluation:
    """Measure and audit every set.

    Args:
        roles: the real cubes.
        sets: the synthetic sets.
        networks: the feature spaces.
        features: computes features, or reads them from a cache.
        draws: number of samples for intervals and floors.
        progress: is told what is done next.

    Raises:
        StoreError: the roles share a group, or hold too few cubes.
    """
    how = comparison(roles.train, roles.held_out, roles.wavelengths, draws)
    progress("the memorisation audit: what train lesions have in common")
    reference, why = _reference(roles)
    progress("the seeds' way, for real cubes")
    found = Evaluation(roles, how, [], published_real=_published_real(how))
    for made in sets:
        progress(f"{made.name}: the memorisation audit")
        audit = _audit(reference, made) if reference else None

        def told(what: str, name: str = made.name) -> None:
            progress(f"{name}: {what}")

        measured = measure(made.cubes, how, networks, features, told)
        recorded = made.origin.audit if made.origin else None
        found.sets.append(Evaluated(made, measured, audit, why, recorded))
    return found


def described(metric: Metric) -> dict[str, Any]:
    """Return the description of a metric as JSON values, with the place of its function."""
    facts = {name: value for name, value in asdict(metric).items() if name != "function"}
    perfect = metric.perfect
    facts["perfect"] = perfect if perfect is None or math.isfinite(perfect) else "infinite"
    return facts | {"span": list(metric.span), "function": where(metric), "docs": (metric.function.__doc__ or "").strip()}


def where(metric: Metric) -> str:
    """Return the dotted name of the function that computes a metric."""
    return f"{metric.function.__module__}.{metric.function.__qualname__}"


def flat_scores(found: Evaluated) -> dict[str, float]:
    """Return the numbers of a set for a tracking server, by the names of MLflow's metrics."""
    values = {score.key: score.value for score in found.measured.scores.found}
    values |= {f"{score.key}/real": score.real for score in found.measured.scores.found if score.real is not None}
    published = {f"as_published/{key}": value for key, value in found.measured.published.items() if value is not None}
    audit = found.audit
    told = {"audit/copies": float(len(audit.copies)), "audit/share": audit.share} if audit else {}
    if found.memorised is not None:
        told["audit/memorised"] = float(found.memorised)
    return {name: value for name, value in {**values, **published, **told}.items() if math.isfinite(value)}


def utc_now() -> str:
    """Return the time of day (UTC, ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _published_real(how: Comparison) -> dict[str, float | None]:
    count = min(len(how.train), len(how.held_out))
    try:
        return as_published(how.held_out.cubes, how.train.cubes[:count])
    except CubeError:
        return {}  # each set says why


def _reference(roles: RealRoles) -> tuple[Reference | None, str]:
    if len(roles.seen) < 2:
        return None, f"train holds {len(roles.seen)} cube: nothing can be audited with it"
    of = [roles.groups[name] for name in roles.seen.lesion_ids]
    return Reference(roles.seen.reflectance, roles.check, roles.seen.lesion_ids, of), ""


def _audit(reference: Reference, made: SyntheticSet) -> Audit:
    auditor, group = Auditor(reference), made.cubes
    for at in range(0, len(group), AUDITED_AT_ONCE):
        rows = slice(at, at + AUDITED_AT_ONCE)
        auditor.add(group.cubes[rows], made.sources[rows] if made.sources else None)
    return auditor.result(made.sources is not None)


def _of_set(each: Evaluated) -> dict[str, Any]:
    made, origin, scores = each.made, each.made.origin, each.measured.scores
    return {
        "store": made.store.location.uri,
        "manifest": made.store.manifest.fingerprint,
        "generator": origin.generator if origin else None,
        "checkpoint": origin.checkpoint if origin else None,
        "cubes": len(made.cubes),
        "notes": list(made.notes),
        "memorised": each.memorised,
        "audit": each.audit.to_dict() if each.audit else None,
        "recorded_audit": dict(each.recorded) if each.recorded else None,
        "audit_missing": each.audit_missing,
        "scores": {score.key: _finite(score.to_dict()) for score in scores.found},
        "as_published": each.measured.published,
        "left_out": {left.key: left.why for left in scores.left},
    }


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values; JSON has no infinite numbers, so they become None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _further_metrics() -> dict[str, Metric]:
    published = {f"as_published/{metric.key}": metric for metric in PUBLISHED_METRICS}
    return published | {metric.key: metric for metric in AUDIT_METRICS}
