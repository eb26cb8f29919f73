"""Decide which cubes an epoch shows, and how often: plain lists of rows, made before training from counts alone.

Oversampling repeats real melanomas. Adding synthetic melanomas at the same ratio shows new cubes instead of these
repetitions. Both give epochs of the same length, so the arms of an ablation differ only in the cubes that are added.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import Literal

import torch
from torch import Tensor

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.errors import ConfigError
from hyperderm.learners import randomness
from hyperderm.learners.data import TrainData, truth
from hyperderm.learners.spec import LearnerConfig
from hyperderm.settings import SHARE_OF_PHOTOGRAPHS, Run
from hyperderm.store.folds import POSITIVE


@dataclass(frozen=True)
class Phase:
    """A part of the training, and the cubes that are shown from its first image on.

    Attributes:
        start: number of images that are shown before this phase begins.
        entries: (E,) int64 rows of what training may draw: those of train, followed by the synthetic ones. An epoch shows
            each entry once.
        mixed: (M,) int64 rows as in `entries`, the second stream of mixed sampling; empty without mixed sampling.
        share: share of all images that are drawn from `mixed`.
    """

    start: int
    entries: Tensor
    mixed: Tensor
    share: float = 0.0

    def mixed_in(self, images: int) -> int:
        """Return how many of its first `images` are of `mixed`: they come as evenly as the share allows."""
        return floor(images * self.share)


def phases(config: LearnerConfig, run: Run, data: TrainData) -> tuple[Phase, ...]:
    """Return the phases of a run, in order; the first begins at image 0.

    Raises:
        ConfigError: the synthetic store holds fewer cubes than the ratio asks for, or the ratio adds no cube at all.
    """
    if config.role == "classifier":
        return _classifier_phases(config, run, data)
    count = len(data.lesion_ids)
    own, photographs = (
        balanced_entries(names) if config.balances else torch.arange(len(names))
        for names in (data.diagnoses, data.extra_diagnoses)
    )
    share = run.data.photographs_share or SHARE_OF_PHOTOGRAPHS
    return (Phase(0, own, count + photographs, share if len(photographs) else 0.0),)


def _classifier_phases(config: LearnerConfig, run: Run, data: TrainData) -> tuple[Phase, ...]:
    real = real_entries(data.diagnoses, config.oversampling, run.seed)
    share, synthetic = config.mixing, run.synthetic
    none = torch.zeros(0, dtype=torch.int64)
    if synthetic is None:
        return (Phase(0, real, none),)
    assert data.extra_diagnoses
    added = len(data.lesion_ids) + synthetic_entries(
        data.diagnoses, data.extra_diagnoses, synthetic.ratio, alone=synthetic.use != "add"
    )
    if not len(added):
        raise ConfigError(
            f"synthetic.ratio = {synthetic.ratio} adds no cube to {len(data.lesion_ids)} real ones",
            "Use a larger ratio, or leave synthetic out.",
        )
    match synthetic.use:
        case "only":
            return (Phase(0, added, none),)
        case "pretrain" | "pretrain_head":
            return Phase(0, added, none), Phase(run.training.pretrain_images, real, none)
    if share is not None:
        return (Phase(0, real, added, share),)
    return (Phase(0, torch.cat([real, added]), none),)


def balanced_entries(diagnoses: Sequence[str]) -> Tensor:
    """Return every row once, and repeat the rows of rarer diagnoses in turn until all diagnoses occur equally often."""
    held = {name: [row for row, own in enumerate(diagnoses) if own == name] for name in dict.fromkeys(diagnoses)}
    most = max(map(len, held.values()), default=0)
    again = [rows[place % len(rows)] for rows in held.values() for place in range(len(rows), most)]
    return torch.tensor([*range(len(diagnoses)), *again], dtype=torch.int64)


def relabelled(run: Run, data: TrainData) -> TrainData:
    """Return the data of a run whose synthetic cubes have the labels that `synthetic.labels` asks for.

    Labels are dealt out anew among the cubes that would be shown by their own diagnoses, and among these alone, so that the
    cubes that are shown and the number of each label do not depend on how many more cubes the set holds.
    """
    synthetic = run.synthetic
    if synthetic is None or synthetic.labels == "own":
        return data
    rows = synthetic_entries(data.diagnoses, data.extra_diagnoses, synthetic.ratio, alone=synthetic.use != "add").tolist()
    order = torch.randperm(len(rows), generator=randomness.generator(run.seed, "labels", 0)).tolist()
    dealt = [UNKNOWN] * len(data.extra_diagnoses)  # a cube that is not shown is of no diagnosis that is asked for
    for row, other in zip(rows, order, strict=True):
        dealt[row] = data.extra_diagnoses[rows[other]]
    if data.streamed:
        return replace(data, streamed=replace(data.streamed, extra=tuple(dealt)))
    assert data.extra is not None
    return replace(data, extra=replace(data.extra, diagnoses=tuple(dealt)))


def real_entries(diagnoses: Sequence[str], oversample: float | Literal["balance"], turn: int = 0) -> Tensor:
    """Return every row once, and repeat melanomas in turn until `oversample` extra showings per melanoma are reached.

    With less than one extra showing per melanoma, only some melanomas are repeated. Each `turn` (a seed) starts after the
    last melanoma that the turn before repeated.

    Raises:
        ConfigError: `oversample` is above 0, but so small that no melanoma is repeated.
    """
    positive = _rows(diagnoses, positive=True)
    extra = count_of(len(positive), len(diagnoses) - len(positive), oversample)
    if oversample != "balance" and oversample > 0 and not extra:
        raise ConfigError(
            f"learner.oversample = {oversample} shows none of {len(positive)} melanomas again",
            f"Use {1 / max(len(positive), 1):.2g} or more, or 0.",
        )
    positive = positive.roll(-turn * extra)
    again = positive.repeat(-(-extra // max(len(positive), 1)))[:extra]
    return torch.cat([torch.arange(len(diagnoses)), again])


def synthetic_entries(
    real: Sequence[str], synthetic: Sequence[str], ratio: float | Literal["balance"], *, alone: bool
) -> Tensor:
    """Return the rows of the first melanomas of a synthetic set, as many as `ratio` asks for.

    With `alone`, also return its first negatives, as many as `ratio` asks for: of each diagnosis in train's proportion. A
    smaller ratio takes a subset of the rows of a larger one, but for the rounding of rare diagnoses.

    Raises:
        ConfigError: the set holds fewer cubes of a diagnosis than are asked for.
    """
    positives = int(truth(real).sum())
    negatives = len(real) - positives
    wanted = {POSITIVE: count_of(positives, negatives, ratio)}
    if alone:
        most = max(positives, negatives)
        wanted[POSITIVE] = most if ratio == "balance" else wanted[POSITIVE]
        others = most if ratio == "balance" else count_of(negatives, positives, ratio)
        wanted |= apportioned(others, {name: real.count(name) for name in sorted({*real} - {POSITIVE})})
    chosen = [torch.zeros(0, dtype=torch.int64)]
    for diagnosis, count in wanted.items():
        held = torch.tensor([row for row, name in enumerate(synthetic) if name == diagnosis], dtype=torch.int64)
        if len(held) < count:
            raise ConfigError(
                f"synthetic.ratio = {ratio} asks for {count} synthetic {diagnosis}, the set holds {len(held)}",
                "Generate more, or lower the ratio.",
            )
        chosen.append(held[:count])
    return torch.cat(chosen)


def apportioned(total: int, held: Mapping[str, int]) -> dict[str, int]:
    """Return `total` divided in proportion to `held`, by largest remainders; names that get nothing are left out."""
    whole = sum(held.values())
    shares = {name: total * count / whole for name, count in held.items()}
    found = {name: int(share) for name, share in shares.items()}
    rest = sorted(held, key=lambda name: (found[name] - shares[name], name))
    for name in rest[: total - sum(found.values())]:
        found[name] += 1
    return {name: count for name, count in found.items() if count}


def count_of(members: int, others: int, ratio: float | Literal["balance"]) -> int:
    """Return how many cubes `ratio` adds to a class of `members` cubes if the other class has `others` cubes."""
    return max(others - members, 0) if ratio == "balance" else round(ratio * members)


def _rows(diagnoses: Sequence[str], positive: bool) -> Tensor:
    return torch.nonzero(truth(diagnoses) == int(positive)).flatten()
