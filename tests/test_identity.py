"""What makes a result the same: defaults left out, new fields harmless, what earlier versions wrote."""

import json
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from hyperderm.config import DataConfig, Experiment, SyntheticConfig, TaskConfig
from hyperderm.errors import ConfigError, RemovedSetting
from hyperderm.identity import SCHEMA, present, read, searching, shapes, shaping
from hyperderm.learners import LEARNERS
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.spec import LearnerConfig
from hyperderm.settings import Run
from hyperderm.strict import Strict, fingerprint, unfolded

DEFAULTS = Path(__file__).parent / "golden" / "defaults.json"
GAN = Experiment(name="a", learner=ShsGanConfig(n_critic=3), data=DataConfig(size=32))
CELL = Experiment(name="a", learner=ClassifierConfig(), task=TaskConfig())


def test_what_is_at_its_default_is_left_out():
    assert shaping(GAN) == {"schema": SCHEMA, "data.size": 32, "learner.kind": "shsgan", "learner.n_critic": 3}
    assert shaping(CELL) == {"schema": SCHEMA, "learner.kind": "classifier", "task": True}


def test_names_machines_and_places_shape_nothing():
    free = {"name": "b", "profile": "small", "sweep.trials": 3, "sweep.workers_per_trial": 2, "data.feed": "memory"}
    assert shaping(GAN.override(free)) == shaping(GAN)
    here, there = (CELL.model_copy(update={"synthetic": SyntheticConfig(store=place)}) for place in ("a", "b"))
    assert shaping(here) == shaping(there) == shaping(CELL) | {"synthetic": True}


@pytest.mark.parametrize(
    ("path", "value"),
    [("seed", 1), ("data.fold", 1), ("training.images", 7), ("learner.gp_weight", 3.0)],
)
def test_everything_else_does(path, value):
    assert shaping(GAN.override({path: value})) != shaping(GAN)
    assert shapes(path)


class Before(LearnerConfig):
    """A learner as it was."""

    role: ClassVar = "generator"
    objective: ClassVar = "score"
    kind: Literal["grown"] = "grown"
    width: int = 4


class After(Before):
    """The same after a knob with a default has joined it."""

    depth: int = 2


def test_a_new_knob_with_a_default_changes_nothing_that_was_made_before():
    def run(learner: LearnerConfig) -> Run:
        return type("R", (Run,), {"__annotations__": {"learner": type(learner)}})(name="a", learner=learner)

    assert shaping(run(Before(width=8))) == shaping(run(After(width=8)))
    assert fingerprint(shaping(run(Before()))) == fingerprint(shaping(run(After())))
    assert shaping(run(After(depth=3)))["learner.depth"] == 3


def old(experiment: Experiment, **learner: object) -> dict[str, object]:
    """An experiment as the version before wrote it: every leaf, and what the learner had then."""
    saved = json.loads(experiment.model_dump_json())
    saved["learner"] = {"input": "rgb", "noise_dim": 100, **saved["learner"], **learner}
    del saved["learner"]["real_label"]
    return saved


def test_what_the_version_before_wrote_is_read():
    assert read(old(GAN)) == GAN


def test_noise_that_left_shsgan_is_refused_with_what_there_is_instead():
    with pytest.raises(ConfigError, match=r"input = noise of learner.kind = shsgan is no more.*hyperderm train dcgan"):
        read(old(GAN, input="noise", rgb_weight=0.0))


def test_a_sweep_of_the_version_before_is_the_same_sweep():
    def flat(node: object, at: str = "") -> dict[str, object]:
        if not isinstance(node, dict):
            return {at: node}
        return {k: v for name, each in node.items() for k, v in flat(each, f"{at}.{name}" if at else name).items()}

    kept = set(searching(GAN)) | {"learner.input", "learner.noise_dim"}
    was = {path: value for path, value in flat(old(GAN)).items() if path in kept} | {"manifest": "m", "space.version": 1}
    assert present(was) == json.loads(json.dumps(searching(GAN))) | {"manifest": "m", "space.version": 1}
    assert present({"size": 64, "manifest": "m"}) == {"size": 64, "manifest": "m"}  # a grid's


def test_a_pre_training_is_a_run_of_its_own_now():
    """It was a field of `data` in one version: where it was empty nothing changed, where it was not it is told."""
    was = {**searching(GAN), "data.pretrain_diagnoses": []}
    assert present(was) == json.loads(json.dumps(searching(GAN)))
    saved = old(GAN)
    saved["data"]["pretrain_diagnoses"] = ["nevus"]
    with pytest.raises(
        RemovedSetting, match=r"data.pretrain_diagnoses = \['nevus'\] is no more.*a run of its own.*learner.start"
    ):
        read(saved)


def test_flat_configurations_unfold():
    for experiment in (GAN, CELL):
        assert read(unfolded(experiment.flat())) == experiment


def test_no_default_changed_without_a_new_schema():
    """What is at its default is left out: another default would take finished sweeps and grids for what they are not."""
    known = json.loads(DEFAULTS.read_text("utf-8"))
    changed = {path for path, value in known["values"].items() if path in defaults() and defaults()[path] != value}
    assert known["schema"] == SCHEMA, f"write {DEFAULTS.name} anew: python -m tests.test_identity"
    assert known["values"].keys() == defaults().keys(), f"write {DEFAULTS.name} anew: python -m tests.test_identity"
    assert not changed, "raise identity.SCHEMA, or leave these defaults as they were"


def defaults() -> dict[str, object]:
    """Every default of every model of a configuration, as model.field -> JSON value."""
    models, found = [Run, SyntheticConfig, TaskConfig, *LEARNERS], dict[str, object]()
    while models:
        model = models.pop()
        for name, info in model.model_fields.items():
            value = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
            if isinstance(value, Strict):
                models.append(type(value))
            elif not info.is_required():
                found[f"{model.__name__}.{name}"] = json.loads(json.dumps(value))
    return dict(sorted(found.items()))


if __name__ == "__main__":
    DEFAULTS.write_text(json.dumps({"schema": SCHEMA, "values": defaults()}, indent=1) + "\n", "utf-8")
