"""Runs that need other runs: what is proven before they start, what they begin from, and what is known of it later."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from hyperderm.config import Experiment
from hyperderm.errors import CheckpointError, ConfigError, StudyError
from hyperderm.identity import searching, shaping
from hyperderm.registry import Space, check_space
from hyperderm.store.reader import Store, open_store
from hyperderm.studies.named_runs import find_inputs
from hyperderm.training.checkpoint import BEST, LATEST
from hyperderm.training.context import local
from hyperderm.training.run import run
from hyperderm.training.selection import read, select
from tests.cluster.sweeps import Memory, tiny, train_once
from tests.studies.grids import store as other_store

FOLD = 1


@pytest.fixture(scope="module")
def real(phantom_store) -> Store:
    return open_store(str(phantom_store))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


def experiment(**overrides) -> Experiment:
    return tiny(**{"data__fold": FOLD, "training__images": 32} | overrides)


def provenance(real: Store, name: str) -> dict[str, str]:
    return {"run": f"{name}-key", "hyperderm.manifest": real.manifest.fingerprint, "hyperderm.fold": str(FOLD)}


def trained(real: Store, runs: Path, name: str, made: Experiment) -> Path:
    inputs = find_inputs(made, real, runs)
    place = runs / name / "trials" / "0000"
    train_once(made, real, place, provenance(real, name) | inputs.tags, Memory(), inputs=inputs)
    return place


@pytest.fixture(scope="module")
def first(real, runs) -> Path:
    """A finished run called `first`."""
    return trained(real, runs, "first", experiment())


def loaded(place: Path) -> dict:
    return torch.load(place, map_location="cpu", weights_only=True)


def refused(real: Store, runs: Path, made: Experiment) -> str:
    with pytest.raises(StudyError) as told:
        find_inputs(made, real, runs)
    return str(told.value)


# --- what it begins from


def test_a_run_begins_where_the_other_ended_bit_for_bit(real, runs, first):
    """Also of other diagnoses, whose own scaling and gain would mean other cubes."""
    made = experiment(data__diagnoses=["melanoma"], learner__start="first")
    inputs = find_inputs(made, real, runs)
    data = read(real, select(real, made), made, inputs.states)
    began = next(run(made, data, local(runs / "nowhere")))
    other = experiment(data__diagnoses=["melanoma"])
    own = read(real, select(real, other), other)
    assert not torch.equal(data.scaling.low, own.scaling.low)
    before = loaded(first / BEST)
    learner = made.learner.build(made, data, local(runs / "nowhere").compute("fp32"))
    state = learner.state_dict()
    for part in ("generator", "critic", "ema"):
        assert all(torch.equal(state[part][name], value) for name, value in before["learner"][part].items())
    assert state["gain"] == before["learner"]["gain"]
    assert not state["g_optimizer"]["state"]
    sampler = made.learner.load_sampler(experiment(), before, "cpu")
    condition = learner.condition(learner._drawn(8, made.seed))
    assert torch.equal(began.cubes, sampler.sample(made.seed, range(8), condition))


def test_the_average_of_a_run_that_begins_from_another_is_not_forgotten_sooner(real, runs, first):
    made = experiment(learner__start="first", learner__ema_images=1e9)
    place = trained(real, runs, "slow", made)
    before, after = loaded(first / BEST)["learner"]["ema"], loaded(place / LATEST)["learner"]["ema"]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    assert not all(torch.equal(after[name], value) for name, value in loaded(place / LATEST)["learner"]["generator"].items())


# --- what is known of it


def test_it_is_known_by_the_hash_of_the_checkpoint_wherever_that_lies(real, runs, first, tmp_path):
    digest = hashlib.sha256((first / BEST).read_bytes()).hexdigest()
    shutil.copytree(first, tmp_path / "elsewhere")
    named = [experiment(learner__start=place) for place in ("first", str(first / BEST), str(tmp_path / "elsewhere" / BEST))]
    assert [find_inputs(each, real, runs).content for each in named] == [{"hyperderm.input.start": digest}] * 3
    assert find_inputs(named[0], real, runs).tags["hyperderm.input_run.start"] == "first-key"
    assert searching(named[0]) == searching(named[1])
    assert shaping(named[0]) == shaping(named[2])
    assert find_inputs(experiment(), real, runs).content == {}


def test_it_stands_in_the_checkpoint_with_all_that_was_seen(real, runs, first):
    place = trained(real, runs, "second", experiment(data__diagnoses=["melanoma"], learner__start="first"))
    third = trained(real, runs, "third", experiment(data__diagnoses=["dysplastic_nevus"], learner__start="second"))
    saved = loaded(place / BEST)
    assert saved["provenance"]["hyperderm.input.start"] == hashlib.sha256((first / BEST).read_bytes()).hexdigest()
    index = real.read(real.select("train", FOLD, "all"))
    every = sorted(set(index.column("diagnosis").to_pylist()))
    assert loaded(first / BEST)["seen"] == saved["seen"] == loaded(third / BEST)["seen"] == every


def test_what_an_earlier_version_saw_is_known_from_its_configuration(real, runs, first, tmp_path):
    saved = loaded(first / BEST)
    told = saved.pop("seen")
    for name, diagnoses, expected in (("all", "all", told), ("one", ["melanoma"], ["melanoma"])):
        facts = json.loads(saved["experiment"])
        facts["data"] |= {"diagnoses": diagnoses, "pretrain_diagnoses": []}
        torch.save({**saved, "experiment": json.dumps(facts), "images": 32}, tmp_path / f"{name}.pt")
        (held,) = find_inputs(experiment(learner__start=str(tmp_path / f"{name}.pt")), real, runs).held
        assert held.state["seen"] == expected


def test_going_on_with_another_input_is_refused(real, runs, first, tmp_path):
    made = experiment(learner__start="first")
    inputs = find_inputs(made, real, runs)
    told = provenance(real, "x")
    data = read(real, select(real, made), made, inputs.states)
    going = run(made, data, local(tmp_path, told | inputs.tags))
    next(going), next(going)
    going.close()
    with pytest.raises(CheckpointError, match=r"made by another run: hyperderm.input.start: \w+ -> 0000"):
        next(run(made, data, local(tmp_path, told | {"hyperderm.input.start": "0000"})))
    with pytest.raises(CheckpointError, match=r"hyperderm.input.start: \w+ -> \(absent\)"):
        next(run(made, data, local(tmp_path, told)))
    assert next(run(made, data, local(tmp_path, told | inputs.tags))).images == 32


def test_it_is_no_axis_of_a_search():
    from optuna.distributions import CategoricalDistribution

    space = Space("mine", 1, {"learner.start": CategoricalDistribution(["a", "b"])})
    with pytest.raises(ConfigError, match=r"'mine' has the axis learner.start: which run a trial begins from"):
        check_space(space, experiment())


# --- what is refused


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"data__fold": 2}, "it was trained for fold 1, this run is of fold 2, whose test role it has seen"),
        ({"data__size": 24}, "it was trained on 16 pixels, this run on 24. Use --set data.size=16"),
        ({"learner__generator_width": 8}, "its learner.generator_width is 4, here it is 8: the networks differ. Use --set"),
        ({"learner__critic": "conv2d"}, "its learner.critic is conv3d, here it is conv2d"),
        ({"learner__norm": "layer"}, "its learner.norm is none, here it is layer"),
    ],
)
def test_a_run_that_does_not_fit(real, runs, first, overrides, said):
    told = refused(real, runs, experiment(**{"learner__start": "first"} | overrides))
    assert told.startswith("learner.start = first: ")
    assert said in told


def test_a_run_of_another_kind(real, runs, first):
    made = Experiment(**{**experiment().model_dump(), "learner": {"kind": "dcgan", "start": "first"}})
    assert "it is of learner.kind = shsgan, not dcgan. Name a run of dcgan" in refused(real, runs, made)


def test_a_run_of_another_store(real, runs, first, tmp_path):
    foreign = other_store(tmp_path / "foreign")
    told, was, now = refused(foreign, runs, experiment(learner__start="first")), real.manifest, foreign.manifest
    assert f"it was trained on store {was.fingerprint[:12]}, this run reads {now.fingerprint[:12]}" in told


def test_a_run_that_has_not_finished(real, runs, first, tmp_path):
    made = experiment(training__images=64)
    place = tmp_path / "half" / "trials" / "0000"
    going = run(made, read(real, select(real, made), made), local(place, provenance(real, "half")))
    next(going), next(going)
    going.close()
    told = refused(real, tmp_path, experiment(learner__start="half"))
    assert "its run has not finished: 32 of 64 images were shown. Let it finish" in told
    (place / LATEST).unlink()
    told = refused(real, tmp_path, experiment(learner__start=str(place / BEST)))
    assert "nobody can tell whether its run has finished: it was left after 32 of 64 images. Name the run" in told


def test_another_run_s_latest_checkpoint_proves_nothing(real, runs, first, tmp_path):
    made = experiment(training__images=64)
    going = run(made, read(real, select(real, made), made), local(tmp_path, provenance(real, "half")))
    next(going), next(going)
    going.close()
    shutil.copy(first / LATEST, tmp_path / LATEST)
    told = refused(real, tmp_path, experiment(learner__start=str(tmp_path / BEST)))
    assert "nobody can tell whether its run has finished: it was left after 32 of 64 images" in told


def test_a_scaling_that_would_be_told_and_not_used(real, runs, first):
    told = refused(real, runs, experiment(learner__start="first", data__scaling="robust"))
    assert "its data.scaling is range, here it is robust: its scaling is kept" in told
    assert "Use --set data.scaling=range, or name another run." in told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scaling": None}, "it holds no scaling of reflectance"),
        ({"scaling": {"high": []}}, "it holds no scaling of reflectance"),
        ({"provenance": []}, "is no checkpoint of hyperderm"),
        ({"experiment": 3}, "is no checkpoint of hyperderm"),
        ({"experiment": "[]"}, "it is not of this version of hyperderm"),
        ({"experiment": "null"}, "it is not of this version of hyperderm"),
        ({"images": None}, "nobody can tell whether its run has finished: it was left after 0 of 32 images"),
    ],
)
def test_a_checkpoint_that_lacks_something(real, runs, first, tmp_path, change, said):
    torch.save({**loaded(first / BEST), **change}, tmp_path / "odd.pt")
    assert said in refused(real, runs, experiment(learner__start=str(tmp_path / "odd.pt")))


def test_a_latest_checkpoint_without_its_best_is_not_gone_on_from(real, tmp_path):
    made = experiment(training__images=64)
    data = read(real, select(real, made), made)
    going = run(made, data, local(tmp_path))
    next(going), next(going)
    going.close()
    (tmp_path / BEST).unlink()
    with pytest.raises(CheckpointError, match=r"best.pt is lost. Move latest.pt, previous.pt beside it away; the run then"):
        next(run(made, data, local(tmp_path)))


def test_a_run_that_is_none(real, runs, first):
    assert "learner.start = firts: firts is no run" in refused(real, runs, experiment(learner__start="firts"))
    assert "Did you mean 'first'" in refused(real, runs, experiment(learner__start="firts"))
    assert "checkpoint no.pt does not exist" in refused(real, runs, experiment(learner__start="no.pt"))


def test_a_checkpoint_of_a_learner_that_moved(real, runs, first, tmp_path):
    """SHS-GAN from noise is the DCGAN now; and a kind that no learner has."""
    saved = loaded(first / BEST)
    for change, said in (
        (
            {"input": "noise"},
            "it is of an earlier version of hyperderm: learner.input = noise of learner.kind = shsgan",
        ),
        ({"kind": "wavegan"}, "it is not of this version of hyperderm (learner.kind = wavegan is refused"),
    ):
        facts = json.loads(saved["experiment"])
        facts["learner"] |= change
        torch.save({**saved, "experiment": json.dumps(facts)}, tmp_path / LATEST)
        assert said in refused(real, runs, experiment(learner__start=str(tmp_path / LATEST)))


def test_networks_of_another_version_are_refused_when_they_are_loaded(real, runs, first):
    made = experiment(learner__start="first")
    inputs = find_inputs(made, real, runs).states
    state = {**inputs["start"], "learner": {**inputs["start"]["learner"], "critic": {}}}
    data = read(real, select(real, made), made, {"start": state})
    with pytest.raises(ConfigError, match=r"start = first: its networks are not those of this version.*Train it anew"):
        made.learner.build(made, data, local(runs).compute("fp32"))
