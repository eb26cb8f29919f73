"""A field with a default joins a learner: sweeps, runs, checkpoints and grids that were made before it go on.

Learners are fixed when they are imported, so time goes the other way: what today's code leaves behind loses the field
wherever it is written down, as if the version that wrote it had not known it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from hyperderm.config import Experiment
from hyperderm.errors import CheckpointError, StudyError
from hyperderm.identity import read, searching, shaping
from hyperderm.learners.data import TrainData
from hyperderm.registry import Space
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import GridFolder, record_plan, result_of
from hyperderm.studies.search import sweep_identity
from hyperderm.training.checkpoint import LATEST
from hyperderm.training.context import local
from hyperderm.training.run import run
from hyperderm.training.run_folder import IDENTITY, PLAN, claim, same_run, trial_folder
from hyperderm.workflows.grid_identity import identity as grid_identity
from tests.cluster.sweeps import AXES, CLASSIFIER_AXES, Memory, ask, classifier, search, tiny
from tests.learners.test_contract import data, same
from tests.studies.grids import finish, generator
from tests.studies.grids import plan as grid_plan
from tests.studies.grids import store as grid_store
from tests.training.tiny import steady

STEPS = {"training__images": 16, "training__validate_every": 8, "training__batch_size": 4}
TOLD = {"run": "r", "hyperderm.manifest": "m", "hyperderm.fold": "0"}


@dataclass(frozen=True)
class Grown:
    """A field that joined.

    Attributes:
        path: of the field.
        value: that is not its default.
        base: a run with the field at its default.
        content: what is known beside the configuration of a run with another value.
        told: how a refusal names the change.
    """

    path: str
    value: Any
    base: Experiment
    told: str
    content: tuple[tuple[str, str], ...] = ()

    @property
    def other(self) -> Experiment:
        return self.base.override({self.path: self.value})

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        axes = AXES if experiment.learner.role == "generator" else CLASSIFIER_AXES
        content = dict(self.content) if experiment == self.other else {}
        return sweep_identity(experiment, Space("space", 1, axes), "m", content)


GAN = tiny(learner__loss="bce", learner__critic="conv2d", learner__n_critic=1, **STEPS)
CNN = classifier(**STEPS)
FIELDS = {
    "of a GAN": Grown("learner.real_label", 0.9, GAN, "learner.real_label: 1.0 -> 0.9"),
    "an input": Grown(
        "learner.start", "a-run", GAN, r"hyperderm.input.start: \(absent\) -> c0ffee", (("hyperderm.input.start", "c0ffee"),)
    ),
    "of a classifier": Grown("learner.weight_decay", 0.5, CNN, "learner.weight_decay: 0.01 -> 0.5"),
    "of a group": Grown(
        "learner.spectral_augmentation.tilt",
        0.2,
        CNN,
        "learner.spectral_augmentation.tilt: 0.1 -> 0.2",
    ),
}
every = pytest.mark.parametrize("grown", FIELDS.values(), ids=FIELDS)


def forget(node: dict[str, Any], path: str) -> None:
    """Take a field out of a configuration as nested JSON, where it is at its default."""
    *parents, leaf = path.split(".")
    for name in parents:
        node = node[name]
    assert leaf in node
    del node[leaf]


def forget_identity(folder: Path, path: str) -> int:
    """Take a field out of what a folder stands for, also out of a grid's models; return how often it was there."""
    known = json.loads((folder / IDENTITY).read_text("utf-8"))
    gone = [key for key in known["identity"] if key == path or key.endswith(f".{path}")]
    for key in gone:
        del known["identity"][key]
    (folder / IDENTITY).write_text(json.dumps(known), "utf-8")
    return len(gone)


def forget_checkpoints(folder: Path, path: str) -> None:
    """Take a field out of every checkpoint of a run."""
    for place in folder.glob("*.pt"):
        saved = torch.load(place, weights_only=True)
        facts = json.loads(saved["experiment"])
        forget(facts, path)
        torch.save({**saved, "experiment": json.dumps(facts)}, place)


def trained(experiment: Experiment, held: TrainData, folder: Path) -> list[Any]:
    """Train to the end, or on to it; return images and scores of every report."""
    reports = run(experiment, held, local(folder, TOLD))
    return [(each.images, steady(each.metrics)) for each in reports]


def half(experiment: Experiment, held: TrainData, folder: Path) -> None:
    """Leave a run as a kill after its first checkpoint does."""
    going = run(experiment, held, local(folder, TOLD))
    next(going), next(going)
    going.close()


# --- sweeps and runs


@pytest.mark.parametrize("base", [GAN, CNN], ids=["a GAN", "a classifier"])
def test_a_sweep_goes_on_with_its_study_and_its_half_trained_trial(base, tmp_path):
    """Where a field has another value, the checkpoint is another run's."""
    fields = [grown for grown in FIELDS.values() if grown.base == base]
    held, sweep = data(), tmp_path / "sweep"
    mine = fields[0].identity(base)
    memory = Memory()
    with claim(sweep, mine) as key:
        began = ask(search(sweep, base, memory))
        half(began.experiment, held, trial_folder(sweep, began.number))
    for grown in fields:
        assert forget_identity(sweep, grown.path) == (0 if grown.content else 1)
        forget_checkpoints(trial_folder(sweep, began.number), grown.path)
    with claim(sweep, mine) as again:
        taken_up = ask(search(sweep, base, memory))
    assert again == key
    assert (taken_up.number, taken_up.values) == (began.number, began.values)
    assert memory.events[-1] == ("started", began.number, True)
    place = trial_folder(sweep, taken_up.number)
    for grown in fields:
        if not grown.content:  # of an input the hash is proven: `test_inputs.py`
            with pytest.raises(CheckpointError, match=f"made by another run: {grown.told}"):
                trained(taken_up.experiment.override({grown.path: grown.value}), held, place)
    reports = trained(taken_up.experiment, held, place)
    assert [images for images, _ in reports] == [8, 16]
    assert reports == trained(began.experiment, held, tmp_path / "undisturbed")[1:]
    one, two = (torch.load(folder / LATEST, weights_only=True) for folder in (tmp_path / "undisturbed", place))
    assert same(one["learner"], two["learner"])
    assert two["experiment"] == one["experiment"]


@every
def test_a_sweep_of_another_value_is_another_sweep(grown, tmp_path):
    with claim(tmp_path / "sweep", grown.identity(grown.base)):
        pass
    forget_identity(tmp_path / "sweep", grown.path)
    with pytest.raises(StudyError, match=grown.told), claim(tmp_path / "sweep", grown.identity(grown.other)):
        pass


@every
def test_a_run_is_found_by_what_it_stands_for(grown, tmp_path):
    mine = {**searching(grown.base), "manifest": "m"}
    with claim(tmp_path / "train-tiny-0123abcd", mine):
        pass
    forget_identity(tmp_path / "train-tiny-0123abcd", grown.path)
    assert same_run(tmp_path, "train-tiny-", mine) == tmp_path / "train-tiny-0123abcd"
    assert same_run(tmp_path, "train-tiny-", {**searching(grown.other), **dict(grown.content), "manifest": "m"}) is None


# --- grids


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Store:
    return grid_store(tmp_path_factory.mktemp("grid") / "real")


def asked(real: Store, generates: dict[str, Any] | None = None, **overrides: Any) -> Plan:
    makers = {"shsgan": generator(data__diagnoses=["melanoma"], learner__loss="bce", **(generates or {}))}
    return grid_plan(real, makers, **{"folds": [0], "models": ["small_cnn"], "arms": ["real", "synthetic"]} | overrides)


GENERATES = [("learner.real_label", 0.9)]
CLASSIFIES = [("learner.weight_decay", 0.5), ("learner.spectral_augmentation.tilt", 0.2)]


def other(real: Store, path: str, value: Any) -> Plan:
    """The plan with another value of the field."""
    if (path, value) in GENERATES:
        return asked(real, {path.replace(".", "__"): value})
    return asked(real, **{f"classifiers__small_cnn__{path.replace('.', '__')}": value})


def of(path: str, stage: str) -> bool:
    """Whether jobs of a stage have the field."""
    return stage == ("generator" if path in ("learner.real_label", "learner.start") else "cell")


def as_left_before(folder: Path, made: Plan, path: str) -> str:
    """Leave a finished grid behind that does not know the field; return the key of its folder."""
    with claim(folder, grid_identity(made), grows=True) as key:
        finish(record_plan(folder, made), folder)
    assert forget_identity(folder, path) or path == "learner.start"  # which is known by its hash alone
    content = json.loads((folder / PLAN).read_text("utf-8"))
    for job in content["jobs"]:
        if job["experiment"] and of(path, job["stage"]):
            forget(job["experiment"], path)
    for model in content["grid"]["classifiers"].values():
        if model["learner"]["kind"] == "classifier" and of(path, "cell"):
            forget(model, path)
    (folder / PLAN).write_text(json.dumps(content), "utf-8")
    return key


@pytest.mark.parametrize("path", [path for path, _ in [*GENERATES, *CLASSIFIES, ("learner.start", "")]])
def test_a_grid_goes_on_and_finds_what_was_finished(real, tmp_path, path):
    whole, folder = asked(real, seeds=[0, 1]), tmp_path / "grid"
    key = as_left_before(folder, whole, path)
    for job in json.loads((folder / PLAN).read_text("utf-8"))["jobs"]:  # what a job is named after does not name the field
        if job["experiment"]:
            before = shaping(read(job["experiment"]))
            assert path not in before
            assert before in [shaping(each.experiment) for each in whole.jobs if each.key == job["key"] and each.experiment]
    less = asked(real)
    with claim(folder, grid_identity(less), grows=True) as again:
        joined = record_plan(folder, less)
    assert again == key
    assert {job.key: job for job in joined.jobs} == {job.key: job for job in whole.jobs}
    assert all(result_of(GridFolder(folder), job) for job in joined.jobs)


@pytest.mark.parametrize(("path", "value"), [*GENERATES, *CLASSIFIES])
def test_a_grid_of_another_value_has_other_jobs_and_is_refused_in_the_same_folder(real, tmp_path, path, value):
    made, changed = asked(real), other(real, path, value)
    as_left_before(tmp_path / "grid", made, path)
    for before, now in zip(made.jobs, changed.jobs, strict=True):
        assert before.label == now.label
        assert (before.key != now.key) == (
            before.stage != "cell" or bool(before.needs) if of(path, "generator") else of(path, before.stage)
        )
    with (
        pytest.raises(StudyError, match=rf"exists with another configuration: .*{path}: .* -> {value}"),
        claim(tmp_path / "grid", grid_identity(changed), grows=True),
    ):
        pass


@pytest.mark.parametrize(("path", "value"), [("learner.lr", 0.5), ("learner.spectral_augmentation.exposure", 0.25)])
def test_a_grid_whose_models_were_written_down_in_groups_goes_on(real, tmp_path, path, value):
    """As versions before this one did: a field that joined such a group made the grid another one."""
    folder, nested = tmp_path / "grid", "small_cnn.learner.spectral_augmentation"
    with claim(folder, grid_identity(asked(real)), grows=True) as key:
        pass
    known = json.loads((folder / IDENTITY).read_text("utf-8"))
    flat = {name: each for name, each in known["identity"].items() if name.startswith(f"{nested}.")}
    group = {name.removeprefix(f"{nested}."): each for name, each in flat.items() if not name.endswith(".tilt")}
    assert len(group) == len(flat) - 1
    kept = {name: each for name, each in known["identity"].items() if name not in flat}
    (folder / IDENTITY).write_text(json.dumps({**known, "identity": {**kept, nested: group}}), "utf-8")
    with claim(folder, grid_identity(asked(real)), grows=True) as again:
        assert again == key
    assert json.loads((folder / IDENTITY).read_text("utf-8")) == known
    changed = asked(real, **{f"classifiers__small_cnn__{path.replace('.', '__')}": value})
    (folder / IDENTITY).write_text(json.dumps({**known, "identity": {**kept, nested: group}}), "utf-8")
    with (
        pytest.raises(StudyError, match=rf"small_cnn.{path}: .* -> {value}"),
        claim(folder, grid_identity(changed), grows=True),
    ):
        pass


def test_generators_that_begin_from_others_join_a_grid_and_change_none_of_its_jobs(real, tmp_path):
    made = asked(real)
    key = as_left_before(tmp_path / "grid", made, "learner.start")
    more = asked(real, arms=["real", "synthetic", "both"])
    with claim(tmp_path / "grid", grid_identity(more), grows=True) as again:
        joined = record_plan(tmp_path / "grid", more)
    assert again == key
    assert {job.key for job in made.jobs} < {job.key for job in joined.jobs}
    begun = [job for job in joined.jobs if job.inputs]
    assert begun
    assert not {job.key for job in begun} & {job.key for job in made.jobs}
