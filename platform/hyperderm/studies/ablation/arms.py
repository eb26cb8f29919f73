"""The arms of a grid: what each changes in a model's configuration, and what it is compared with."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from hyperderm.ablation import REFERENCE, Ablation, Model
from hyperderm.config import DataConfig, Experiment, SyntheticConfig
from hyperderm.strict import parse

Ratio = float | Literal["balance"]
Variant = Literal["own", "all_classes", "pretraining", "pretrained"]
CLASSIC = {"augmentation": "classic"}
PRETRAIN_SHARE = 0.5
"""Of the images of a classifier or a generator, those of its pre-training."""


@dataclass(frozen=True)
class Arm:
    """One column of the grid.

    Attributes:
        name: as in predictions and reports.
        description: in plain words.
        learner: settings of the classifier that the arm fixes.
        generator: where synthetic cubes come from; None without them.
        variant: how that generator is trained: as its experiment says; on every class of the task; or first on those, in a
            run of its own (`pretraining`), and from there as its experiment says (`pretrained`).
        use: see `SyntheticConfig.use`.
        ratio: see `SyntheticConfig.ratio`, and the same for oversampling.
        control: the arm that shows real melanomas in place of the synthetic ones; None where no decision is declared.
    """

    name: str
    description: str
    learner: dict[str, Any] = field(default_factory=dict)
    generator: str | None = None
    variant: Variant = "own"
    use: Literal["add", "only", "pretrain"] = "add"
    ratio: Ratio = 1.0
    control: str | None = None

    @property
    def kind(self) -> str:
        """The word in the grid's `arms` that asks for this arm, of those that read synthetic cubes."""
        if self.use != "add":
            return self.use
        return "both" if self.variant == "pretrained" else "synthetic"

    def suits(self, model: Model) -> str:
        """Return why the arm means nothing for `model`, or "" where it does."""
        return model.learner.unsuited(self.name, self.use)

    def experiment(self, grid: Ablation, model: Model, fold: int, seed: int, store: str) -> Experiment:
        """Return the configuration of one cell; `store` is where its synthetic cubes are.

        Raises:
            ConfigError: the model cannot be trained as the grid asks, such as at its size.
        """
        values = model.learner.model_dump(mode="json")
        values |= {name: value for name, value in self.learner.items() if name in type(model.learner).model_fields}
        training = model.training
        if self.use == "pretrain":
            images = round(training.images * PRETRAIN_SHARE)
            training = training.model_copy(update={"pretrain_images": images})
        synthetic = SyntheticConfig(store=store, use=self.use, ratio=self.ratio) if self.generator else None
        feed = "memory" if model.learner.fit_once else grid.feed
        facts = {
            "name": grid.name,
            "profile": grid.profile,
            "seed": seed,
            "data": DataConfig(size=grid.size, fold=fold, flips=False, feed=feed).model_dump(mode="json"),
            "task": grid.task.model_dump(mode="json"),
            "synthetic": None if synthetic is None else synthetic.model_dump(mode="json"),
            "learner": values,
            "training": training.model_dump(mode="json"),
        }
        return parse(Experiment, facts)


def named(ratio: Ratio) -> str:
    """Return the suffix of an arm at `ratio`: x0.25, x1, balance."""
    return "balance" if ratio == "balance" else f"x{ratio:g}"


def arms(grid: Ablation) -> list[Arm]:
    """Return the arms in the order of reports; every synthetic arm that adds cubes comes with its control."""
    found: dict[str, Arm] = {}
    for arm in _arms(grid):
        found.setdefault(arm.name, arm)
    return list(found.values())


def contrasts(chosen: list[Arm]) -> list[tuple[str, str]]:
    """Return (arm, reference) of the declared family: every arm with a control, against `real` and against its control."""
    return [(arm.name, reference) for arm in chosen if arm.control for reference in (REFERENCE, arm.control)]


def _arms(grid: Ablation) -> Iterator[Arm]:
    kinds = set(grid.arms)
    decided = bool(kinds & {"synthetic", "both"})
    yield Arm(REFERENCE, "real cubes alone, no augmentation", {"augmentation": "none"})
    if "classic" in kinds:
        yield Arm("classic", "real cubes, classic augmentation", CLASSIC)
    if "oversampled" in kinds or decided:
        for ratio in grid.ratios:
            yield _control(ratio)
    if "focal" in kinds:
        yield Arm("focal", "real cubes, classic augmentation, focal loss", CLASSIC | {"loss": "focal"})
    for generator in grid.generators:
        yield from _synthetic(grid, generator)


def _control(ratio: Ratio) -> Arm:
    more = (
        "until the classes are equal" if ratio == "balance" else f"{ratio:g} extra showing{'s' * (ratio != 1)} per melanoma"
    )
    return Arm(
        f"oversampled_{named(ratio)}",
        f"real cubes, classic augmentation, melanomas shown again: {more}",
        CLASSIC | {"oversample": ratio},
        ratio=ratio,
    )


def _synthetic(grid: Ablation, generator: str) -> Iterator[Arm]:
    kinds = set(grid.arms)
    for ratio in grid.ratios:
        more = "until the classes are equal" if ratio == "balance" else f"{ratio:g} per real melanoma"
        control = f"oversampled_{named(ratio)}"
        text = f"real cubes and synthetic melanomas of {generator} ({more}), classic augmentation"
        if "synthetic" in kinds:
            yield Arm(f"{generator}_{named(ratio)}", text, CLASSIC, generator, ratio=ratio, control=control)
        if "both" in kinds:
            text = f"{text}; the generator was pre-trained on both classes"
            name = f"{generator}_both_{named(ratio)}"
            yield Arm(name, text, CLASSIC, generator, "pretrained", ratio=ratio, control=control)
    if "only" in kinds:
        text = f"synthetic cubes of {generator} alone, one per real one of each class, classic augmentation"
        yield Arm(f"{generator}_only", text, CLASSIC, generator, "all_classes", "only")
    if "pretrain" in kinds:
        text = f"half the steps on synthetic cubes of {generator}, half on real ones, classic augmentation"
        yield Arm(f"{generator}_pretrain", text, CLASSIC, generator, "all_classes", "pretrain")
