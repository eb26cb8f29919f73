"""The configuration of an ablation grid: does a classifier trained on real + synthetic cubes beat one on real alone?"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hyperderm.config import TaskConfig, TrainingConfig
from hyperderm.learners import AnyLearner, kinds
from hyperderm.settings import SEEDS, Name
from hyperderm.store.curated import Keep, Match
from hyperderm.strict import Strict

ArmKind = Literal[
    "real",
    "classic",
    "strong",
    "oversampled",
    "focal",
    "synthetic",
    "conditional",
    "melanoma_only",
    "photographs",
    "filtered",
    "matched",
    "proportional",
    "rebuilt",
    "shuffled",
    "without_melanoma",
    "noisy_copies",
    "only",
    "pretrain",
    "pretrain_head",
    "both",
]
Checkpoint = Literal["best", "latest"]
REFERENCE = "real"
HURDLE = "strong"
"""The arm that every other arm with a decision has to beat too, where the grid holds it."""
NOISY_COPIES = "noisy_copies"
"""The arm, and the experiment of its generator, that shows real melanomas with noise as synthetic ones."""
WITHOUT_GENERATORS = frozenset({"real", "classic", "strong", "oversampled", "focal", NOISY_COPIES})
"""The arms that need none of the grid's `generators`."""
FIXED = {"seed": "generator_seed", "data.fold": "folds", "data.size": "size", "learner.kind": "generators"}
"""Settings of a generator that the grid itself makes, and the field that says them."""
USED_BY: dict[str, ArmKind] = {"filters": "filtered", "pool": "filtered", "matches": "matched"}
"""Settings that shape one kind of arm alone, and the word that asks for it."""
LARGEST_RATIO = 1000
"""The most synthetic melanomas per real one that a grid takes."""


def _is_fold(text: str) -> bool:
    return text.isascii() and text.isdecimal() and text == str(int(text))


class Model(Strict):
    """A classifier of the grid; the arms set its synthetic data, sampling, loss and augmentation."""

    learner: AnyLearner
    training: TrainingConfig
    gpus: float | None = Field(None, ge=0)
    """GPUs of a cell; None means those of the grid, or no GPU for a model that is fitted at once."""

    @model_validator(mode="after")
    def _classifies(self) -> Self:
        if self.learner.role != "classifier":
            raise ValueError(
                f"learner.kind = {self.learner.kind} is a {self.learner.role}. Name one of {', '.join(kinds('classifier'))}"
            )
        return self


class Resources(Strict):
    """The resources of a cell or a generator, and how often a failed one is started again."""

    concurrent: int | None = Field(None, ge=1)
    """Trials at a time; None means as many as the cluster holds."""
    workers: int = Field(1, ge=1)
    """Data-parallel workers of each generator and each network; one worker draws a set or fits a baseline."""
    cpus: float = Field(1.0, gt=0)
    """CPUs of each worker."""
    gpus: float = Field(0.0, ge=0)
    """GPUs of each worker."""
    max_failures: int = Field(2, ge=0)
    """How often a trial whose process or node died is started again from its checkpoint."""


class Ablation(Strict):
    """A grid of arms x models x folds x seeds, with the generators and synthetic sets that its cells share."""

    name: Name
    profile: Literal["small", "full"] = "full"
    size: int = Field(64, ge=16, le=1024)
    """Height and width in pixels of all cubes: of generators, synthetic sets and classifiers."""
    task: TaskConfig = TaskConfig()
    folds: Annotated[tuple[int, ...], Field(min_length=1)] | Literal["all"] = "all"
    """Test folds; each fold has generators and synthetic sets of its own."""
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    """Seeds of the classifiers; generators and sets use `generator_seed`."""
    generator_seed: int = Field(0, ge=0, lt=SEEDS)
    arms: tuple[ArmKind, ...] = Field(("real", "oversampled", "synthetic"), min_length=1)
    """real: no augmentation; all other arms use the classic one. classic: classic augmentation alone. oversampled: melanomas
    are shown again, per ratio (the control). focal: focal loss. synthetic: synthetic melanomas beside the real ones, per
    ratio. conditional: as synthetic, but the generator learnt every diagnosis of the task. melanoma_only: as synthetic, but
    the generator learnt melanomas alone. photographs: as synthetic, but the generator learnt `photographs` beside the cubes.
    filtered: as synthetic, but the cubes are chosen from `pool` times as many, by each of `filters`. matched: as synthetic,
    but the cubes are given properties of train, each of `matches`. proportional: synthetic cubes of both classes in train's
    proportion, per ratio, so that "synthetic" is no sign of melanoma. rebuilt: every train cube again as the generator
    rebuilds it. only: synthetic cubes alone. pretrain: synthetic cubes first, then real ones. pretrain_head: the same, but
    real cubes train the last layer alone. both: as synthetic, but the generator was pre-trained on both classes. strong:
    classic augmentation and changes of light and sensor; every arm with a decision must beat it too.

    Negative controls, which must not help: shuffled, as proportional with the diagnoses of the synthetic cubes dealt out
    anew; without_melanoma, as synthetic from a generator that never saw melanoma; noisy_copies, real melanomas with noise
    (experiments/noisy_copies.py, which need not be one of `generators`).
    """
    curve: tuple[float, ...] = Field((), examples=[[0.25, 0.5]])
    """Shares of train's melanomas for the learning curve: each adds an arm real@SHARE, with the same steps as `real`. The
    parts are nested and drawn by fold and seed. The smallest share adds CONTROL@SHARE for each control of a synthetic arm
    too: exchange rates are read along these. Without any, no report says what one more melanoma is worth."""
    ratios: tuple[float | Literal["balance"], ...] = Field((1.0,), min_length=1)
    """Synthetic melanomas per real training melanoma; balance adds them until the classes are equal."""
    filters: tuple[Keep, ...] = Field(("random", "judge", "confidence", "copies", "all"), min_length=1)
    """How the arm "filtered" chooses cubes, see `store.curated.Curation.keep`."""
    pool: float = Field(3.0, gt=1, le=100)
    """Number of cubes that are drawn for each one that a filter keeps."""
    matches: tuple[Match, ...] = Field(("moments", "noise", "both"), min_length=1)
    """What the arm "matched" gives synthetic cubes of train, see `store.curated.Curation.match`."""
    choose: Literal["nothing", "validation"] = "nothing"
    """validation: for each generator an arm GENERATOR_chosen, which in each fold and seed is the arm with the best score on
    validation among all of that generator; its control is chosen likewise. The best on test cannot be asked for."""
    checkpoints: tuple[Checkpoint, ...] = Field(("best",), min_length=1)
    """The states of a generator from which the arms "synthetic" and "proportional" draw: best, the one with the best score
    of its own on validation; latest, the one at the end of training. With choose=validation, the classifier's score on
    validation takes one. A generator that is fitted at once, and a set made elsewhere, has one state."""
    judge: bool = False
    """Whether a network of each model's own kind is trained to tell each synthetic set from real cubes, beside the logistic
    regression of every audit. Models that are fitted at once have no such judge."""
    generators: tuple[str, ...] = Field((), examples=[["NAME"]])
    """Names of experiments whose learner generates, or names in `sets`."""
    generator_settings: dict[str, dict[str, Any]] = Field(
        default_factory=dict, examples=[{"NAME": {"training.images": 9600}}]
    )
    """Changes to the experiments of generators and of `unmixers`: name to configuration path to value."""
    unmixers: dict[str, str] = Field(default_factory=dict, examples=[{"NAME": "NET"}])
    """Generators in abundance space whose endmembers come from an unmixing net (`learner.unmixing`): generator to the
    name of that net's experiment, which is trained first on each fold. Generators that name the same one share its nets."""
    sets: dict[str, dict[str, str]] = Field(default_factory=dict, examples=[{"made": {"0": "stores/made-0"}}])
    """Synthetic stores made elsewhere: name to fold to URI. Each store must name the manifest and fold it was made from."""
    photographs: str | None = Field(None, examples=["stores/photographs"])
    """Store of photographs that the generators of the arm "photographs" learn (`data.photographs`)."""
    rgb: str | None = Field(None, examples=["stores/photographs"])
    """Store of RGB photographs as input of generators that make cubes from colours; None means the RGB of the train role's
    cubes (marked as derived). Other generators have no use for it."""
    searches: dict[str, dict[str, str]] = Field(default_factory=dict, examples=[{"NAME": {"0": "runs/sweep-0"}}])
    """Sweeps whose winners train the generators: generator to fold to sweep folder. A sweep serves only its own fold. Of a
    Pareto front the trial with the lowest first objective wins."""
    models: tuple[str, ...] = Field(min_length=1, examples=[["NAME"]])
    """The names in `classifiers` that the grid combines with the arms."""
    classifiers: dict[str, Model]
    resources: Resources = Resources()
    feed: Literal["auto", "memory", "stream"] = "auto"
    """How train roles and synthetic sets are read, as in `data.feed`. Data of models fitted at once are always in memory."""

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for name in type(self).model_fields:
            values = getattr(self, name)
            if isinstance(values, tuple) and len(set(values)) < len(values):
                raise ValueError(f"{name} = {list(values)} names one twice. Name each once")
        numbers = [ratio for ratio in self.ratios if ratio != "balance"]
        if not all(0 < ratio <= LARGEST_RATIO for ratio in numbers):
            raise ValueError(
                f"ratios = {list(self.ratios)} is refused: a ratio is above 0 and at most {LARGEST_RATIO}. For none "
                'there is arms=["real"]'
            )
        if len({f"{ratio:g}" for ratio in numbers}) < len(numbers):
            raise ValueError(f"ratios = {list(self.ratios)} names two that differ by less than their arms' names can tell")
        both = sorted({"proportional", "shuffled"} & set(self.arms))
        if both and set(self.ratios) == {"balance"}:
            raise ValueError(f"ratios = ['balance'] with arms {both} is refused: they keep train's proportion. Add a number")
        if "latest" in self.checkpoints and not {"synthetic", "proportional"} & set(self.arms):
            raise ValueError(
                f"checkpoints = {list(self.checkpoints)} with arms = {list(self.arms)} is refused: the arms synthetic and "
                "proportional alone are drawn from several states. Add one, or leave checkpoints out"
            )
        if self.uses_generators and not self.generators:
            raise ValueError(f"generators = [] with arms = {list(self.arms)} is refused: name one, or leave those arms out")
        if ("photographs" in self.arms) != (self.photographs is not None):
            raise ValueError(
                f'photographs = {self.photographs} with arms = {list(self.arms)} is refused: the arm "photographs" and '
                "the store belong together. Give both or none"
            )
        if not all(0 <= seed < SEEDS for seed in self.seeds):
            raise ValueError(f"seeds = {list(self.seeds)} is refused: a seed is 0 to {SEEDS - 1}. For example seeds=[0,1,2]")
        return self

    @model_validator(mode="after")
    def _used(self) -> Self:
        for name, arm in USED_BY.items():
            value = getattr(self, name)
            if arm not in self.arms and value != type(self).model_fields[name].default:
                said = list(value) if isinstance(value, tuple) else f"{value:g}"
                raise ValueError(
                    f'{name} = {said} with arms = {list(self.arms)} is refused: the arm "{arm}" alone uses it. Add '
                    f"that arm, or leave {name} out"
                )
        return self

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        if self.task.melanomas != 1:
            raise ValueError(
                f"task.melanomas = {self.task.melanomas:g} is refused: a grid shows parts of the melanomas by itself. For "
                "example curve=[0.25,0.5]"
            )
        if self.choose == "validation" and not self.uses_generators:
            raise ValueError(
                f"choose = validation with generators = {list(self.generators)} and arms = {list(self.arms)} is refused: "
                "there is nothing to choose among. Name generators and their arms, or leave choose out"
            )
        made: dict[str, str] = {}
        for name in (name for name in self.models if name in self.classifiers):
            same = made.setdefault(self.classifiers[name].model_dump_json(exclude={"gpus"}), name)
            if same != name:
                raise ValueError(
                    f"models = {list(self.models)} is refused: {same} and {name} are one model with two names. Name one"
                )
        return self

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if any(not 0 < share < 1 for share in self.curve):
            raise ValueError(
                f"curve = {list(self.curve)} is refused: a share of the melanomas is above 0 and below 1, and the whole "
                "is the arm real, which every grid has. For example curve=[0.25,0.5]"
            )
        if len({f"{share:g}" for share in self.curve}) < len(self.curve):
            raise ValueError(f"curve = {list(self.curve)} names shares that differ by less than their arms' names can tell")
        return self

    @model_validator(mode="after")
    def _named(self) -> Self:
        for name in ("sets", "searches", "unmixers", "generator_settings"):
            known = {*self.generators, *(self.unmixers.values() if name == "generator_settings" else ())}
            unknown = sorted(set(getattr(self, name)) - known)
            if unknown:
                raise ValueError(f"{name} names {unknown[0]!r}, which is not one of generators. Add it there, or correct it")
        if made := sorted({*self.unmixers} & {*self.sets}):
            raise ValueError(f"unmixers names {made[0]!r}, whose cubes were made elsewhere (sets). Leave it out of one")
        if NOISY_COPIES in self.sets:
            raise ValueError(f"sets names {NOISY_COPIES!r}, which is a negative control of every grid. Name it otherwise")
        for name in ("sets", "searches"):
            folds = sorted(fold for each in getattr(self, name).values() for fold in each if not _is_fold(fold))
            if folds:
                raise ValueError(f'{name} names fold {folds[0]!r}. Folds are numbers in quotes, such as "0"')
        for name, values in self.generator_settings.items():
            for path in sorted(FIXED.keys() & values.keys()):
                raise ValueError(
                    f"generator_settings of {name} names {path}, which the grid itself sets. Use {FIXED[path]} for it"
                )
        return self

    @property
    def trained(self) -> tuple[str, ...]:
        """The names of the experiments whose generators the grid trains or fits."""
        own = [name for name in self.generators if name not in self.sets] if self.uses_generators else []
        return tuple(dict.fromkeys([*own, *([NOISY_COPIES] if NOISY_COPIES in self.arms else [])]))

    def with_settings(self, name: str, changes: Mapping[str, Any]) -> str:
        """Return the option that gives a generator these settings and keeps all others that the grid has."""
        own = self.generator_settings
        text = json.dumps({**own, name: {**own.get(name, {}), **changes}}, separators=(",", ":"))
        return f"--set 'generator_settings={text}'"

    @property
    def uses_generators(self) -> bool:
        """Whether any arm reads cubes of `generators`."""
        return not WITHOUT_GENERATORS.issuperset(self.arms)
