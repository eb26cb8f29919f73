"""Grids whose generators take their endmembers from an unmixing net, which each fold trains for itself first."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperderm import registry
from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.errors import ConfigError, StoreError
from hyperderm.learners.colour_unmixing import ColourUnmixingConfig
from hyperderm.learners.unmixer import UnmixerConfig
from hyperderm.settings import PENDING
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import origin_of
from hyperderm.store.writer import write_store
from hyperderm.strict import json_of
from hyperderm.studies.ablation.audits import audit
from hyperderm.studies.ablation.grid import job_config
from hyperderm.studies.ablation.plan import Plan
from hyperderm.studies.ablation.records import STORE, GridFolder, result_of
from hyperderm.studies.ablation.work import task_of, work
from hyperderm.training.run_folder import RESULT
from tests.learners.test_dcgan import experiment
from tests.studies import grids

MAKER, NET = "dcgan", "unmixer"


def net(**overrides: object) -> Experiment:
    base = Experiment(
        name=NET,
        profile="small",
        data=DataConfig(size=grids.SIZE, diagnoses="all"),
        learner=UnmixerConfig(endmembers=3, width=4, stages=0, start_by="vca", bands="rgb"),
        training=TrainingConfig(batch_size=4, images=32, validate_every=16),
    )
    return base.override({path.replace("__", "."): value for path, value in overrides.items()})


def maker(**overrides: object) -> Experiment:
    return experiment(learner__space="abundance", learner__unmixing=PENDING, data__diagnoses=["melanoma"], **overrides)


def planned(real: Store, made: Experiment | None = None, unmixer: Experiment | None = None, **overrides: object) -> Plan:
    makers = {MAKER: made or maker(), NET: unmixer or net()}
    settings = {"generators": [MAKER], "unmixers": {MAKER: NET}, "models": ["spectral"], "folds": [0]} | overrides
    return grids.plan(real, makers, **settings)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Store:
    return grids.store(tmp_path_factory.mktemp("store") / "real")


def photographs(place: Path, count: int = 6, origin: dict[str, object] | None = None) -> Store:
    """Photographs of melanomas; the origin of the first may be that of a cube."""
    rng, nm = np.random.default_rng(1), np.array([450.0, 550.0, 600.0])
    lesions = [
        Lesion(
            f"P{index}", f"P{index}", f"P{index}", "melanoma",
            Cube(rng.uniform(0.1, 0.7, (16, 16, 3)).astype(np.float32), nm), None, origin if origin and not index else {},
        )
        for index in range(count)
    ]  # fmt: skip
    write_store(str(place), lesions, fold_count=0, kind="rgb")
    return open_store(str(place))


def test_every_fold_has_a_net_of_its_own_that_comes_first(real):
    made = planned(real, folds=[0, 1], arms=["synthetic", "only"])
    nets = {job.fold: job for job in made.stage("generator") if job.model == NET}
    makers = [job for job in made.stage("generator") if job.model == MAKER]
    assert set(nets) == {0, 1}
    assert len(makers) == 4, "one of melanomas and one of all classes in each fold"
    order = [job.key for job in made.jobs]
    for job in makers:
        assert job.inputs == {"unmixing": nets[job.fold].key}
        assert order.index(nets[job.fold].key) < order.index(job.key)
    assert nets[0].experiment.data.fold == 0
    assert nets[1].experiment.data.fold == 1


def test_the_two_runs_of_a_pre_training_share_the_net(real):
    made = planned(real, arms=["both"])
    first, second = (job for job in made.stage("generator") if job.model == MAKER)
    assert second.inputs == first.inputs | {"start": first.key}


def test_another_net_is_another_generator_and_other_photographs_are(real, tmp_path):
    def key(made: Plan) -> str:
        return next(job.key for job in made.stage("generator") if job.model == MAKER)

    plain = key(planned(real))
    assert key(planned(real)) == plain
    assert key(planned(real, unmixer=net(learner__endmembers=4))) != plain
    keys = set()
    for count in (6, 7):  # at the same address
        place = tmp_path / str(count) / "photographs"
        photographs(place, count)
        (tmp_path / "now").unlink(missing_ok=True)
        (tmp_path / "now").symlink_to(place)
        made = planned(real, maker(data__photographs=str(tmp_path / "now")))
        keys.add(key(made))
        assert f"data.photographs {tmp_path / 'now'}" in made.content
    assert len(keys | {plain}) == 3


def test_photographs_of_a_held_out_patient_are_refused_in_the_fold_that_holds_them_back(real, tmp_path):
    held = real.select("validation", 0, ["melanoma"])[0]
    lesions = [
        replace(each, origin={"file": each.image_id, "sha256": each.image_id.ljust(64, "0")}) for each in real.lesions()
    ]
    write_store(str(tmp_path / "cubes"), lesions, fold_count=grids.FOLDS, seed=0)
    cubes = open_store(str(tmp_path / "cubes"))
    leaky = photographs(tmp_path / "leaky", origin={"file": "x", "sha256": held.ljust(64, "0")})
    other = next(fold for fold in range(grids.FOLDS) if held in cubes.select("train", fold, ["melanoma"]))
    planned(cubes, maker(data__photographs=leaky.location.uri), folds=[other])
    with pytest.raises(StoreError, match=r"data.photographs = .* shows 1 of \d+ lesions of the validation role of fold 0"):
        planned(cubes, maker(data__photographs=leaky.location.uri))


def test_what_is_refused(real):
    with pytest.raises(
        ConfigError, match=r"learner.unmixing = a-run\): a run is of one fold.*unmixers=.*\"dcgan\": \"unmixer\""
    ):
        planned(real, experiment(learner__space="abundance", learner__unmixing="a-run"), unmixers={})
    with pytest.raises(ConfigError, match=r"unmixers names 'shsgn', which is not one of generators"):
        planned(real, unmixers={"shsgn": NET})
    with pytest.raises(ConfigError, match=r"unmixers names 'dcgan', whose cubes were made elsewhere \(sets\)"):
        planned(real, sets={MAKER: {"0": "made"}})
    with pytest.raises(ConfigError, match=r"generator_settings names 'other'"):
        planned(real, generator_settings={"other": {"seed": 1}})
    with pytest.raises(ConfigError, match="unmixers names 'shsgan', which unmixes nothing"):
        registry.unmixers(["shsgan"], "small")
    with pytest.raises(ConfigError, match=r"unmixers names 'unmixr', which is no experiment. Did you mean 'unmixer'"):
        registry.unmixers(["unmixr"], "small")


def test_net_generator_and_set_of_cubes_and_photographs(phantom_store, tmp_path):
    real = open_store(str(phantom_store))
    shown = photographs(tmp_path / "photographs")
    made, folder = planned(real, maker(data__photographs=shown.location.uri)), GridFolder(tmp_path / "grid")
    config = job_config(made, folder, {"run": "r", "hyperderm.manifest": real.manifest.fingerprint})
    for job in made.jobs:
        if job.stage != "cell":
            list(work(task_of(config(job)), real))
    done = {job.model if job.stage == "generator" else "set": result_of(folder, job) for job in made.jobs}
    assert done[MAKER]["inputs"] == {"unmixing": done[NET]["checkpoint"]}
    jobs = {job.model: job for job in made.stage("generator")}
    state, net_state = (
        torch.load(tmp_path / "grid" / jobs[name].folder / "best.pt", weights_only=True) for name in (MAKER, NET)
    )
    endmembers = net_state["learner"]["network"]["endmembers"].double()
    torch.testing.assert_close(torch.tensor(state["space"]["endmembers"], dtype=torch.float64), endmembers)
    (drawn,) = made.stage("synthetic")
    cubes = open_store(folder.address(drawn, STORE))
    assert origin_of(cubes.manifest).checkpoint == done[MAKER]["checkpoint"]
    results = {job.key: result for job in made.jobs if (result := result_of(folder, job))}
    (begun,) = [row for row in audit(made, folder, results) if row[0].startswith("every generator that begins from another")]
    assert begun[1].startswith("1 generators")
    assert begun[2]

    other = json_of((tmp_path / "grid" / jobs[NET].folder / RESULT).read_text())
    assert other["stage"] == "generator"


def colours(**overrides: object) -> Experiment:
    """A generator that is the unmixing net itself."""
    base = experiment(data__diagnoses="all")
    return base.model_copy(update={"learner": ColourUnmixingConfig(unmixing=PENDING)}).override(overrides)


def test_a_net_that_is_the_generator_makes_cubes_of_photographs_in_a_grid(phantom_store, tmp_path):
    real = open_store(str(phantom_store))
    shown = photographs(tmp_path / "photographs", 8)
    how = {"generators": ["colour_unmixing"], "unmixers": {"colour_unmixing": NET}, "models": ["spectral"], "folds": [0]}
    made = grids.plan(real, {"colour_unmixing": colours(), NET: net()}, rgb=shown.location.uri, **how)
    jobs = {job.model: job for job in made.stage("generator")}
    assert jobs["colour_unmixing"].inputs == {"unmixing": jobs[NET].key}
    folder = GridFolder(tmp_path / "grid")
    config = job_config(made, folder, {"run": "r", "hyperderm.manifest": real.manifest.fingerprint})
    for job in made.jobs:
        if job.stage != "cell":
            list(work(task_of(config(job)), real))
    assert result_of(folder, jobs["colour_unmixing"])["inputs"] == {"unmixing": result_of(folder, jobs[NET])["checkpoint"]}
    (drawn,) = made.stage("synthetic")
    cubes = open_store(folder.address(drawn, STORE))
    origin = origin_of(cubes.manifest)
    assert (origin.generator, origin.rgb, origin.derived) == ("colour_unmixing", shown.manifest.fingerprint, False)


def test_a_net_that_its_generator_cannot_use_is_refused_before_it_trains(real):
    how = {"generators": ["colour_unmixing"], "unmixers": {"colour_unmixing": NET}, "folds": [0]}
    with pytest.raises(
        ConfigError,
        match=r"unmixers names unmixer for generator colour_unmixing: it sees all bands.*"
        r"generator_settings=\{\"unmixer\":\{\"learner.bands\":\"rgb\"\}\}",
    ):
        grids.plan(real, {"colour_unmixing": colours(), NET: net(learner__bands="all")}, **how)
    with pytest.raises(ConfigError, match=r"learner.unmixing = null .*unmixers="):
        grids.plan(real, {"colour_unmixing": colours(**{"learner.unmixing": None})}, **{**how, "unmixers": {}})
