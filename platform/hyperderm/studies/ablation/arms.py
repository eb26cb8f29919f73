"""The arms of a grid as plain records: what each shows a classifier, and what it is compared with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hyperderm.config import DataConfig, Experiment, SyntheticConfig
from hyperderm.errors import ConfigError
from hyperderm.grid_config import HURDLE, NOISY_COPIES, REFERENCE, Ablation, Checkpoint, Model
from hyperderm.settings import PRETRAINS, Use
from hyperderm.store.folds import POSITIVE
from hyperderm.strict import parse

Ratio = float | Literal["balance"]
Variant = Literal["own", "all_classes", "melanoma_only", "pretraining", "pretrained", "photographs", "without_melanoma"]
CLASSIC = {"augmentation": "classic"}
PRETRAIN_SHARE = 0.5
"""The share of the training images that pre-training takes, for a classifier or a generator."""
CLASSIC_ARM = "classic"
AT = "@"
"""Stands between an arm's name and its share of the melanomas."""


@dataclass(frozen=True)
class Arm:
    """One arm of the grid, which is combined with every model, fold and seed.

    Attributes:
        name: the name of the arm in predictions and reports.
        description: what the arm does, in plain words.
        learner: settings of the classifier that the arm fixes.
        generator: the source of the synthetic cubes; None if the arm shows none.
        variant: how the generator is trained: as its experiment says (`own`); on every class of the task (`all_classes`); on
            melanoma alone (`melanoma_only`); on the grid's photographs too (`photographs`); on every class but melanoma
            (`without_melanoma`); or first on every class in a run of its own (`pretraining`), and from there as its
            experiment says (`pretrained`).
        checkpoint: the state of the generator from which the set is drawn (`Ablation.checkpoints`).
        use: the value of `SyntheticConfig.use`.
        ratio: the value of `SyntheticConfig.ratio`; oversampling uses the same ratio.
        control: the arm that shows real melanomas in place of the synthetic ones; None if the arm declares no decision.
        share: the share of train's melanomas that the arm shows, a point of the learning curve.
        labels: the value of `SyntheticConfig.labels`.
        curation: what is done to the set before it is shown (`store.curated.Curation`), as JSON values; {} for nothing.
        rebuilt: whether the set is all of train as the generator rebuilds it, and not drawn.
        word: the word in the grid's `arms` that asks for this arm, for arms that read synthetic cubes.
        chosen_from: for an arm that is not trained but chosen among others on validation (see `choice`), their names.
    """

    name: str
    description: str
    learner: dict[str, Any] = field(default_factory=dict)
    generator: str | None = None
    variant: Variant = "own"
    checkpoint: Checkpoint = "best"
    use: Use = "add"
    ratio: Ratio = 1.0
    control: str | None = None
    share: float = 1.0
    labels: Literal["own", "redrawn"] = "own"
    curation: Mapping[str, str] = field(default_factory=dict)
    rebuilt: bool = False
    word: str = ""
    chosen_from: tuple[str, ...] = ()

    @property
    def negative(self) -> bool:
        """Whether the arm is a negative control, whose synthetic cubes can teach nothing about melanoma."""
        return self.labels == "redrawn" or self.variant == "without_melanoma" or self.generator == NOISY_COPIES

    @property
    def by_dose(self) -> bool:
        """Whether the arm is one of several that differ in their ratio alone."""
        return (
            bool(self.control)
            and not self.rebuilt
            and not self.chosen_from
            and self.use not in PRETRAINS
            and self.variant != "pretrained"
        )

    @property
    def series(self) -> str:
        """The name that the arm shares with those that differ from it in their ratio alone."""
        return self.name.removesuffix(f"_{named(self.ratio)}")

    def suits(self, model: Model) -> str:
        """Return why the arm has no meaning for `model`; "" if it has one."""
        return model.learner.unsuited(self.name.partition(AT)[0], self.use)

    def experiment(self, grid: Ablation, model: Model, fold: int, seed: int, store: str) -> Experiment:
        """Return the configuration of one cell; `store` is the address of its synthetic cubes.

        Raises:
            ConfigError: the model cannot be trained as the grid demands, for example at its size.
        """
        values = model.learner.model_dump(mode="json")
        values |= {name: value for name, value in self.learner.items() if name in type(model.learner).model_fields}
        training = model.training
        if self.use in PRETRAINS:
            images = round(training.images * PRETRAIN_SHARE)
            training = training.model_copy(update={"pretrain_images": images})
        synthetic = None
        if self.generator:
            synthetic = SyntheticConfig(store=store, use=self.use, ratio=self.ratio, labels=self.labels)
        feed = "memory" if model.learner.fit_once else grid.feed
        facts = {
            "name": grid.name,
            "profile": grid.profile,
            "seed": seed,
            "data": DataConfig(size=grid.size, fold=fold, flips=False, feed=feed).model_dump(mode="json"),
            "task": grid.task.model_dump(mode="json") | ({} if self.share == 1 else {"melanomas": self.share}),
            "synthetic": None if synthetic is None else synthetic.model_dump(mode="json"),
            "learner": values,
            "training": training.model_dump(mode="json"),
        }
        return parse(Experiment, facts)


def named(ratio: Ratio) -> str:
    """Return the suffix of an arm with `ratio`, such as x0.25, x1 or balance."""
    return "balance" if ratio == "balance" else f"x{ratio:g}"


def arms(grid: Ablation) -> list[Arm]:
    """Return the arms in the order of reports; every synthetic arm that adds cubes comes with its control arm.

    Raises:
        ConfigError: validation has nothing to choose among for a generator, or two arms have one name.
    """
    found: dict[str, Arm] = {}
    for arm in _arms(grid):
        if found.setdefault(arm.name, arm) != arm:
            raise ConfigError(
                f"two arms are called {arm.name}: {found[arm.name].description}; and {arm.description}",
                "Give the set or generator whose name leads to this another name.",
            )
    if grid.choose == "validation":
        for generator in grid.generators:
            found |= {arm.name: arm for arm in _chosen(generator, list(found.values()))}
    return list(found.values())


def contrasts(chosen: list[Arm]) -> list[tuple[str, str]]:
    """Return the declared family as (arm, reference): every arm with a control against `real` and against its control.

    If the grid holds the strong augmentation, every such arm but the negative controls is compared with that too.
    """
    hurdle = [HURDLE] if any(arm.name == HURDLE for arm in chosen) else []
    return [
        (arm.name, reference)
        for arm in chosen
        if arm.control
        for reference in (REFERENCE, arm.control, *([] if arm.negative else hurdle))
    ]


def _arms(grid: Ablation) -> Iterator[Arm]:
    kinds = set(grid.arms)
    yield Arm(REFERENCE, "real cubes alone, no augmentation", {"augmentation": "none"})
    for share in sorted(grid.curve, reverse=True):
        text = f"as {REFERENCE}, with {share:g} of train's melanomas and the same steps"
        yield Arm(f"{REFERENCE}{AT}{share:g}", text, {"augmentation": "none"}, share=share)
    made = [arm for generator in grid.generators for arm in _synthetic(grid, generator)]
    made += _noisy_copies(grid)
    controls = {arm.control for arm in made}
    rated = {arm.control for arm in made if not arm.negative} if grid.curve else set()
    if CLASSIC_ARM in kinds | controls:
        yield Arm(CLASSIC_ARM, "real cubes, classic augmentation", CLASSIC)
        if CLASSIC_ARM in rated:
            yield _fewer(CLASSIC_ARM, 0.0, min(grid.curve))
    if HURDLE in kinds:
        text = "real cubes, classic augmentation and changes of light and sensor"
        yield Arm(HURDLE, text, {"augmentation": "classic+spectral"})
    for ratio in grid.ratios:
        control = _control(ratio)
        if "oversampled" in kinds or control.name in controls:
            yield control
        if control.name in rated:
            yield _fewer(control.name, ratio, min(grid.curve))
    if "focal" in kinds:
        yield Arm("focal", "real cubes, classic augmentation, focal loss", CLASSIC | {"loss": "focal"})
    yield from made


def _chosen(generator: str, made: list[Arm]) -> Iterator[Arm]:
    """Yield the arm that is chosen among all of a generator, and its control, chosen among their controls."""
    candidates = [arm for arm in made if arm.generator == generator and arm.control and not arm.negative]
    if len(candidates) < 2:
        raise ConfigError(
            f"choose = validation, and {generator} has {len(candidates)} arm{'s' * (len(candidates) != 1)} to choose among",
            "Give several ratios, filters, matches or kinds of arms, or leave choose out.",
        )
    controls = tuple(dict.fromkeys(str(arm.control) for arm in candidates))
    control, how = controls[0], "chosen by validation in each fold and seed"
    if len(controls) > 1:
        control = f"{generator}_chosen_control"
        yield Arm(control, f"the best of {', '.join(controls)}, {how}", chosen_from=controls)
    names = tuple(arm.name for arm in candidates)
    text = f"the best of the {len(names)} arms of {generator} that are compared, {how}"
    yield Arm(f"{generator}_chosen", text, control=control, word="chosen", chosen_from=names)


def _fewer(control: str, ratio: Ratio, share: float) -> Arm:
    """Return the second point of a control's own learning curve, along which exchange rates are read.

    Its fewer melanomas are shown as often, all together, as those of the control: the two arms differ in the number of
    different melanomas and not in the balance of the classes, as a synthetic arm and its control do. A third point
    between them would add nothing to the slope.

    Args:
        control: name of the control.
        ratio: extra showings of each of the control's melanomas.
        share: share of train's melanomas, in (0, 1).
    """
    extra: Ratio = "balance" if ratio == "balance" else (1 + ratio) / share - 1
    text = f"as {control}, with {share:g} of train's melanomas, which are shown as often in all"
    return Arm(f"{control}{AT}{share:g}", text, CLASSIC | {"oversample": extra}, share=share)


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
    for ratio in grid.ratios:
        yield from _added(grid, generator, ratio)
    for ratio in (each for each in grid.ratios if each != "balance"):
        yield from _proportional(grid, generator, ratio)
    whole: dict[str, Any] = {"generator": generator, "variant": "all_classes"}
    texts: dict[Use, str] = {
        "only": f"synthetic cubes of {generator} alone, one per real one of each class, classic augmentation",
        "pretrain": f"half the steps on synthetic cubes of {generator}, half on real ones, classic augmentation",
        "pretrain_head": f"as {generator}_pretrain, but real cubes train the last layer alone",
    }
    if "rebuilt" in grid.arms:
        text = f"real cubes, and each of them again as {generator} rebuilds it, classic augmentation"
        both: dict[str, Any] = {"use": "add_both", "control": CLASSIC_ARM, "rebuilt": True, "word": "rebuilt"}
        yield Arm(f"{generator}_rebuilt", text, CLASSIC, **whole, **both)
    for use, text in texts.items():
        if use in grid.arms:
            control = CLASSIC_ARM if use in PRETRAINS else None
            yield Arm(f"{generator}_{use}", text, CLASSIC, **whole, use=use, control=control, word=use)


def _added(grid: Ablation, generator: str, ratio: Ratio) -> Iterator[Arm]:
    """Yield the arms that show melanomas of a generator beside all real cubes; their control shows real ones again."""
    kinds = set(grid.arms)
    more = "until the classes are equal" if ratio == "balance" else f"{ratio:g} per real melanoma"
    text = f"real cubes and synthetic melanomas of {generator} ({more}), classic augmentation"
    plain = Arm(
        f"{generator}_{named(ratio)}", text, CLASSIC, generator, ratio=ratio, control=f"oversampled_{named(ratio)}",
        word="synthetic",
    )  # fmt: skip
    if "synthetic" in kinds:
        yield from _by_checkpoint(grid, plain)

    def other(part: str, said: str, word: str, variant: Variant = "own", **curation: str) -> Arm:
        name, description = f"{generator}_{part}_{named(ratio)}", f"{text}; {said}"
        return replace(plain, name=name, description=description, word=word, variant=variant, curation=curation)

    for word, (variant, said) in VARIANTS.items():
        if word in kinds:
            yield other(word, said, word, variant)
    if "filtered" in kinds:
        for keep in grid.filters:
            said = f"chosen from {grid.pool:g} times as many: {FILTERS[keep]}"
            yield other(keep, said, "filtered", keep=keep)
    if "matched" in kinds:
        for match in grid.matches:
            yield other(f"matched_{match}", f"given {MATCHES[match]} of train", "matched", match=match)
    if "without_melanoma" in kinds:
        yield other(
            "without_melanoma",
            "the generator saw no melanoma, and its cubes are called melanoma all the same: a negative control",
            "without_melanoma",
            "without_melanoma",
            named=POSITIVE,
        )


def _by_checkpoint(grid: Ablation, arm: Arm) -> Iterator[Arm]:
    """Yield the arm for each of the states of its generator that the grid names."""
    for state in grid.checkpoints:
        name, text = f"{arm.series}_{state}_{named(arm.ratio)}", f"{arm.description}; the generator as training left it"
        yield arm if state == "best" else replace(arm, name=name, description=text, checkpoint=state)


VARIANTS: dict[str, tuple[Variant, str]] = {
    "both": ("pretrained", "the generator was pre-trained on both classes"),
    "conditional": ("all_classes", "the generator learnt every diagnosis and is told which"),
    "melanoma_only": ("melanoma_only", "the generator learnt melanomas alone"),
    "photographs": ("photographs", "the generator learnt photographs beside the cubes"),
}
FILTERS = {
    "random": "drawn at random",
    "judge": "those that a judge tells least surely from real ones",
    "confidence": "those that a classifier of real cubes calls most surely melanoma",
    "copies": "no copies of train lesions",
    "all": "no copies, least surely told from real ones, most surely melanoma",
}
MATCHES = {
    "moments": "mean and standard deviation of every band",
    "noise": "the noise spectrum of every band",
    "both": "the noise spectrum, mean and standard deviation of every band",
}


def _proportional(grid: Ablation, generator: str, ratio: float) -> Iterator[Arm]:
    text = f"real cubes and synthetic ones of {generator} of every diagnosis ({ratio:g} per real one), classic augmentation"
    both: dict[str, Any] = {"generator": generator, "variant": "all_classes", "use": "add_both", "ratio": ratio}
    both |= {"control": CLASSIC_ARM}
    if "proportional" in grid.arms:
        plain = Arm(f"{generator}_proportional_{named(ratio)}", text, CLASSIC, **both, word="proportional")
        yield from _by_checkpoint(grid, plain)
    if "shuffled" in grid.arms:
        text = f"{text}; their diagnoses dealt out anew: a negative control"
        yield Arm(f"{generator}_shuffled_{named(ratio)}", text, CLASSIC, **both, labels="redrawn", word="shuffled")


def _noisy_copies(grid: Ablation) -> Iterator[Arm]:
    for ratio in grid.ratios if NOISY_COPIES in grid.arms else ():
        more = "until the classes are equal" if ratio == "balance" else f"{ratio:g} per real melanoma"
        yield Arm(
            f"{NOISY_COPIES}_{named(ratio)}",
            f"real cubes and noisy copies of real melanomas ({more}), classic augmentation: a negative control",
            CLASSIC,
            NOISY_COPIES,
            ratio=ratio,
            control=f"oversampled_{named(ratio)}",
            word=NOISY_COPIES,
        )
