"""Memorisation audit: which synthetic cubes are copies of train lesions, up to what a camera may change?

A copy is a train lesion at another exposure, with other gains of its bands, noise, shifted, turned, mirrored or slightly
blurred. `copy_search` gives each cube its similarity to the train lesion that explains it best. How similar lesions are
that are no copies is learnt from train itself: each of at most `MOST` train lesions is searched for among the others,
without its own group. The largest of many similarities follows Gumbel's law (Coles, *An Introduction to Statistical
Modeling of Extreme Values*, 2001, chapter 3), which is fitted near the tail that decides. It is fitted twice: what the first
fit calls copies, pictures that train holds twice, is left out of the second. A cube is named a copy where that law gives its
similarity, or a higher one, a probability of at most `RATE`.

A set is memorised if it holds more copies than chance lets through, or one that chance never makes:

- P(as many copies or more) < `LEVEL` for a binomial law whose rate is `ALLOWANCE` times `RATE`, because the fitted law is
  itself uncertain; or
- the probability of a cube's similarity, times the number of cubes, is below `CERTAIN`.

Held-out real cubes check the rate of false alarms; they set no threshold, so there may be few of them. Those that chance
never makes so similar are train lesions over again and are counted apart. `POWER` train cubes, changed as a camera may
change them, tell which share of copies this audit finds. The test role is never used.

Each cube of a derived set is made from the pseudo-RGB of one train lesion and keeps its geometry. Such a cube is compared
here with all other lesions; whether it copies its own lesion beyond the pseudo-RGB is what `own_lesion` judges. Where that
cannot be judged, a derived set is memorised or has no verdict, and is never called free of copies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log, log10
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom, gumbel_r, theilslopes
from torch import Tensor

from hyperderm.errors import StoreError
from hyperderm.metrics.camera_changes import camera_copy
from hyperderm.metrics.copy_search import CopySearch, Matches
from hyperderm.statistics.intervals import wilson

if TYPE_CHECKING:
    from hyperderm.metrics.own_lesion import OwnAudit

VERSION = 2
"""Version of the audit. Version 1 compared pixels and missed copies at another exposure or angle."""
RATE = 1e-3
LEVEL = 0.01
ALLOWANCE = 5.0
CERTAIN = 1e-3
MOST, MOST_HELD_OUT = 150, 50
"""Largest numbers of train lesions and of held-out ones that are searched for; they are drawn at random."""
FEWEST = 20
"""Smallest number of train groups from which a threshold is learnt."""
FALLBACK = 1.3
"""Threshold for fewer groups: above the similarity of any two lesions of the phantom or of photographs that were tried."""
POWER = 20
CHUNK = 32
_DIGITS = 6
_LATER = ("rejected", "own", "unjudged")


@dataclass(frozen=True)
class Copy:
    """A cube that is a copy.

    Attributes:
        position: its position in the set.
        lesion: the id of the train lesion of which it is a copy.
        similarity: see `copy_search`.
        p: the probability that a lesion that is no copy has this similarity or a higher one; None for `FALLBACK`.
    """

    position: int
    lesion: str
    similarity: float
    p: float | None


@dataclass(frozen=True)
class Audit:
    """The audit of a set.

    Attributes:
        synthetic: number of synthetic cubes in the audit.
        train: number of train cubes with which they were compared.
        held_out: number of held-out real cubes that were searched for, without `again`.
        threshold: similarity from which on a cube is a copy.
        learnt: whether the threshold was learnt from train; False if train has too few groups.
        copies: the copies.
        share: share of the set that are copies, of their own lesions too where that is judged.
        memorised: whether there are more copies than chance lets through, or one that chance never makes. For a derived set
            also whether it copies its own lesions; None where that is not judged and there are no such copies.
        p: probability of as many copies or more by chance.
        certain_from: the smallest number of copies that makes this set memorised by their number.
        false_alarms: number of held-out cubes that would be called copies.
        again: number of further held-out cubes that are train lesions over again.
        changed: number of train cubes that were changed as a camera may change them.
        found: number of those that were found, with the right lesion.
        median_synthetic: median similarity of the synthetic cubes; None if they were compared with no lesion.
        median_train: median similarity of train lesions to lesions of other groups.
        derived: whether each cube was made from the RGB of a train cube and so keeps its geometry.
        version: see `VERSION`.
        rejected: number of further cubes that were copies and were left out of the set; None if copies were kept.
        own: for a derived set, whether it copies the lesions that it was made from; None if that is not judged.
        unjudged: why that is not judged; "" if it is judged, or if no reason was given.
    """

    synthetic: int
    train: int
    held_out: int
    threshold: float
    learnt: bool
    copies: tuple[Copy, ...]
    share: float
    memorised: bool | None
    p: float
    certain_from: int
    false_alarms: int
    again: int
    changed: int
    found: int
    median_synthetic: float | None
    median_train: float | None
    derived: bool = False
    version: int = VERSION
    rejected: int | None = None
    own: "OwnAudit | None" = None
    unjudged: str = ""

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader should know beside the verdict."""
        low, high = wilson(self.found / self.changed, self.changed)
        said = [
            f"of {self.changed} train cubes changed as a camera may change them it finds {self.found} "
            f"({low:.0%} to {high:.0%} of such copies)",
            f"fewer than {self.certain_from} copies among {self.synthetic} may be chance, unless one is beyond doubt",
            self._alarms(),
        ]
        if self.again:
            said.append(f"{self.again} more held-out cubes are train lesions over again and were left out")
        if self.rejected is not None:
            said.append(f"{self.rejected} further cubes were copies and were left out of the set")
        if not self.learnt:
            said.append(f"train has fewer than {FEWEST} groups, so the threshold is that of the phantom")
        if self.own:
            said += self.own.notes
        elif self.derived:
            why = self.unjudged and f": {self.unjudged}"
            said.append(f"derived: whether a cube copies its own lesion beyond the pseudo-RGB is not judged{why}")
        return said

    def _alarms(self) -> str:
        if not self.held_out:
            return "no held-out cube checked the rate of false alarms"
        high = wilson(self.false_alarms / self.held_out, self.held_out)[1]
        return (
            f"{self.false_alarms} of {self.held_out} held-out cubes would be called copies, so that false alarms are at "
            f"most {high:.1%} of cubes"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values and the notes; numbers have six digits, because further ones depend on the processor.

        Fields of `_LATER` that say nothing are left out: such audits look as they did before there were these fields.
        """
        found: dict[str, Any] = _rounded(asdict(self))
        said = {name: value for name, value in found.items() if name not in _LATER or value not in (None, "")}
        return said | {"notes": self.notes}


class Reference:
    """What sets are audited against: the train lesions, the law of their similarity, and two trials of it.

    Args:
        train: (N, B, S, S) reflectance of all cubes that the generator has seen, N >= 2.
        held_out: (M, B, S, S) reflectance of real cubes that it has not seen; may be empty.
        lesion_ids: (N,) ids of the train cubes; None: their row numbers.
        groups: (N,) groups of the train cubes, within which similarity is no accident; None: each cube is its own.

    Attributes:
        law: the law of the similarity of lesions that are no copies of each other.
        median: median similarity of train lesions to lesions of other groups; None if there is one group.
        held_out: number of held-out cubes that were searched for, without `again`.
        unseen: rows of the held-out cubes that were searched for, without `again`.
        again: number of further held-out cubes that are train lesions over again.
        false_alarms: number of held-out cubes that would be called copies.
        changed: number of train cubes that were changed as a camera may change them.
        found: number of those that were found.

    Raises:
        StoreError: there are fewer than two train cubes, or the cubes are not square or have different shapes.
    """

    def __init__(
        self,
        train: Tensor,
        held_out: Tensor,
        lesion_ids: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        if len(train) < 2:
            raise StoreError(f"{len(train)} train cubes to audit with", "Use more diagnoses, fewer folds, or more data.")
        self.shape = tuple(train.shape[1:])
        self.lesion_ids = list(lesion_ids or map(str, range(len(train))))
        self.groups = np.array(groups or self.lesion_ids)
        self._search = CopySearch(train)
        rng = np.random.default_rng(0)
        self._learn(train, rng)
        self._try_held_out(held_out, rng)
        self._try_copies(train, rng)

    def search(self, cubes: Tensor, excluded: NDArray[np.bool_] | None = None) -> Matches:
        """Return the best match of every cube, see `CopySearch.search`.

        Raises:
            StoreError: the cubes have another shape than the train cubes.
        """
        if tuple(cubes.shape[1:]) != self.shape:
            raise StoreError(f"cubes of {tuple(cubes.shape[1:])} cannot be audited with train cubes of {self.shape}")
        return self._search.search(cubes, excluded)

    def _learn(self, train: Tensor, rng: np.random.Generator) -> None:
        rows = drawn(rng, len(train), MOST)
        similarity = self.search(train[torch.from_numpy(rows)], self.groups[rows][:, None] == self.groups).similarity
        known = similarity[np.isfinite(similarity)]  # a lesion of the only group has no other
        self.law = Law.fitted(known, len(set(self.groups[rows])))
        self.median = _median(known)

    def _try_held_out(self, held_out: Tensor, rng: np.random.Generator) -> None:
        rows = drawn(rng, len(held_out), MOST_HELD_OUT)
        similarity = self.search(held_out[torch.from_numpy(rows)]).similarity
        again = np.array([self.law.is_certain(float(each), len(similarity)) for each in similarity], np.bool_)
        self.unseen, self.again, self.held_out = rows[~again], int(again.sum()), int((~again).sum())
        self.false_alarms = int((similarity[~again] >= self.law.threshold).sum())

    def _try_copies(self, train: Tensor, rng: np.random.Generator) -> None:
        rows = drawn(rng, len(train), POWER)
        met = self.search(torch.cat([camera_copy(train[row : row + 1], rng) for row in rows]))
        right = self.groups[met.row] == self.groups[rows]
        self.changed, self.found = len(rows), int((right & (met.similarity >= self.law.threshold)).sum())


class Auditor:
    """Audits one set chunk by chunk and keeps two numbers for each cube.

    Attributes:
        reference: what the set is audited against.
        rejected: number of cubes that were matched, called copies and left out of the set; None if copies are kept.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.rejected: int | None = None
        self._similarity: list[NDArray[np.float64]] = []
        self._row: list[NDArray[np.intp]] = []

    def match(self, synthetic: Tensor, sources: Sequence[str] | None = None) -> Matches:
        """Return the best match of each cube, and leave the audit as it is.

        Args:
            synthetic: (m, B, S, S) reflectance.
            sources: (m,) for derived cubes, the train lesion each was made from; its group is left out of the search.

        Raises:
            StoreError: the cubes have another shape than the train cubes.
        """
        excluded, known = None, self.reference
        if sources:
            group = dict(zip(known.lesion_ids, known.groups.tolist(), strict=True))
            excluded = np.array([known.groups == group.get(source) for source in sources])
        return known.search(synthetic, excluded)

    def add(self, synthetic: Tensor, sources: Sequence[str] | None = None) -> None:
        """Add cubes to the audit; arguments and errors are those of `match`."""
        self.keep(self.match(synthetic, sources))

    def keep(self, met: Matches) -> None:
        """Add the cubes that have these matches to the audit."""
        self._similarity.append(met.similarity)
        self._row.append(met.row)

    def result(self, derived: bool = False, own: "OwnAudit | None" = None, unjudged: str = "") -> Audit:
        """Return the audit of all cubes added.

        Args:
            derived: see `Audit`.
            own: see `Audit`.
            unjudged: see `Audit`.

        Raises:
            StoreError: no cube was added.
        """
        if not self._similarity:
            raise StoreError("no synthetic cube to audit", "Generate some.")
        similarity, row = np.concatenate(self._similarity), np.concatenate(self._row)
        known, m = self.reference, len(similarity)
        law = known.law
        copies = tuple(
            Copy(int(at), known.lesion_ids[row[at]], float(similarity[at]), law.p(float(similarity[at])))
            for at in np.flatnonzero(similarity >= law.threshold)
        )
        chance = binom(m, ALLOWANCE * RATE)
        p = float(chance.sf(len(copies) - 1))
        memorised: bool | None = _beyond_chance(p, [copy.p for copy in copies], m)
        if derived and not memorised:
            memorised = own.memorised if own else None
        return Audit(
            synthetic=m,
            train=len(known.lesion_ids),
            held_out=known.held_out,
            threshold=law.threshold,
            learnt=law.learnt,
            copies=copies,
            share=len({copy.position for copy in (*copies, *(own.copies if own else ()))}) / m,
            memorised=memorised,
            p=p,
            certain_from=int(chance.isf(LEVEL)) + 1,
            false_alarms=known.false_alarms,
            again=known.again,
            changed=known.changed,
            found=known.found,
            median_synthetic=_median(similarity[np.isfinite(similarity)]),
            median_train=known.median,
            derived=derived,
            rejected=self.rejected,
            own=own,
            unjudged=unjudged,
        )


@dataclass(frozen=True)
class Law:
    """Gumbel's law of the similarity of lesions that are no copies of each other.

    Attributes:
        location: its location.
        scale: its scale.
        threshold: the similarity that is reached with probability `RATE`.
        learnt: whether the law was fitted; otherwise only the threshold is known.
    """

    location: float
    scale: float
    threshold: float
    learnt: bool

    @classmethod
    def fitted(cls, similarity: NDArray[np.float64], groups: int) -> "Law":
        """Return the law of `similarity` (n,), or that of `FALLBACK` if it is of fewer than `FEWEST` groups.

        The first fit takes the median of all slopes between the quantiles of 50 and 90 %, which bears a fifth of pictures
        that train holds twice; the second takes least squares between 50 and 95 % of what the first does not call copies.
        """
        if groups < FEWEST:
            return cls(0.0, 0.0, FALLBACK, learnt=False)
        quantiles, reduced = _tail(similarity, 0.9)
        slope = theilslopes(quantiles, reduced)
        first = cls._through(float(slope[0]), float(slope[1]))
        quantiles, reduced = _tail(similarity[similarity < first.threshold], 0.95)
        return cls._through(*(float(each) for each in np.polyfit(reduced, quantiles, 1)))

    @classmethod
    def _through(cls, scale: float, location: float) -> "Law":
        return cls(location, scale, location - scale * log(-log(1 - RATE)), learnt=True)

    def p(self, similarity: float) -> float | None:
        """Return the probability of this similarity or a higher one; None if the law was not fitted."""
        return float(gumbel_r(self.location, self.scale).sf(similarity)) if self.learnt else None

    def is_certain(self, similarity: float, among: int) -> bool:
        """Return whether chance never makes a similarity as high as this among so many cubes; never if not fitted."""
        return _is_certain(self.p(similarity), among)


def is_current(audit: Mapping[str, Any] | None) -> bool:
    """Return whether an audit, as a manifest keeps it, was made by this version."""
    return audit is not None and audit.get("version") == VERSION


def describe(audit: Mapping[str, Any], of: str = "train lesions") -> str:
    """Return one sentence about an audit in the form of `Audit.to_dict()`, as a manifest keeps it.

    Args:
        audit: the audit.
        of: what the cubes were compared with.
    """
    if not is_current(audit):
        verdict = "memorised" if audit["memorised"] else "not memorised"
        return (
            f"{verdict}, by an earlier version of this audit, which misses copies at another exposure or angle: "
            "generate the set again"
        )
    m, found, own = audit["synthetic"], audit["copies"], audit.get("own")
    said = {True: "MEMORISED: more than", False: "no more than"}
    verdict = said[_beyond_chance(audit["p"], [copy["p"] for copy in found], m)]
    other = "other train lesions than their own" if audit["derived"] else f"one of {audit['train']} {of}"
    beside = ""
    if own:
        than = "MEMORISED: more alike than" if own["memorised"] else "no more alike than"
        beside = f", and {len(own['copies'])} of their own lesion{_named(own['copies'])}, {than} held-out lesions come out"
    return (
        f"{len(found)} of {m} cubes are copies of {other}{_named(found)}, {verdict} chance lets through{beside} "
        f"({'; '.join(audit['notes'])})"
    )


def _named(copies: Sequence[Mapping[str, Any]]) -> str:
    """Return the first three copies in brackets, or "" if there are none."""
    named = "; ".join(f"cube {copy['position']} of {copy['lesion']}" for copy in copies[:3])
    return f" ({named}{', …' if len(copies) > 3 else ''})" if named else ""


def _is_certain(p: float | None, among: int) -> bool:
    return p is not None and p * among < CERTAIN


def _beyond_chance(p: float, each: Sequence[float | None], among: int) -> bool:
    """Return whether a set is memorised: by the number of its copies, of probability p, or by one that is beyond doubt."""
    return p < LEVEL or any(_is_certain(one, among) for one in each)


def _tail(similarity: NDArray[np.float64], end: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the quantiles from 50 % to `end`, and the same quantiles of Gumbel's law of location 0 and scale 1."""
    ordered, n = np.sort(similarity), len(similarity)
    kept = slice(n // 2, int(np.ceil(end * n)))
    return ordered[kept], -np.log(-np.log((np.arange(n) + 0.5) / n))[kept]


def drawn(rng: np.random.Generator, count: int, most: int) -> NDArray[np.intp]:
    """Return at most `most` of the rows 0 … count - 1, drawn at random and sorted."""
    return np.sort(rng.permutation(count)[:most])


def _median(values: NDArray[np.float64]) -> float | None:
    return float(np.median(values)) if len(values) else None


def _rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float) and value and np.isfinite(value):
        return round(value, _DIGITS - 1 - int(np.floor(log10(abs(value)))))
    return value
