"""`hyperderm register`: a run becomes a model of MLflow's registry, which answers as the run itself would."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hyperderm.config import Experiment
from hyperderm.errors import StoreError, StudyError, TrackingError
from hyperderm.learners import LEARNERS
from hyperderm.learners.base import Compute
from hyperderm.learners.data import truth
from hyperderm.learners.decision_rule import fit_decision_rule
from hyperderm.learners.spectral_baseline import SpectralConfig
from hyperderm.learners.unmixer import UnmixerConfig
from hyperderm.store.reader import Store, open_store
from hyperderm.studies.synthesis import generate_here
from hyperderm.tracking.runs import Tracker
from hyperderm.tracking.server import check_server
from hyperderm.training.data import train_data
from hyperderm.training.named_checkpoints import read_checkpoint
from hyperderm.training.selection import select
from hyperderm.training.served_models import ModelFacts, load_served, served
from hyperderm.workflows import register
from tests.cli.test_bad_input import LEFT, ROOT, closed_port
from tests.cluster.sweeps import Memory, classifier, tiny, train_once
from tests.command import Command
from tests.learners.test_dcgan import experiment as dcgan
from tests.studies.test_synthesis import photographs

FOLD = 1
RUNS = {
    "noise": lambda: dcgan(data__fold=FOLD, learner__conditioning="class"),
    "blind": lambda: dcgan(data__fold=FOLD, training__images=16),
    "rgb": lambda: tiny(data__fold=FOLD, training__images=32),
    "told": lambda: classifier(data__fold=FOLD, data__size=16),
    "plain": lambda: classifier(data__fold=FOLD, training__images=16).model_copy(update={"learner": SpectralConfig()}),
}
ASKED = {"count": 4, "seed": 7, "diagnosis": "melanoma"}


@pytest.fixture(scope="module")
def real(phantom_store) -> Store:
    return open_store(str(phantom_store))


def train(experiment: Experiment, real: Store, folder: Path) -> None:
    provenance = {
        "run": f"{folder.name}-key",
        "hyperderm.manifest": real.manifest.fingerprint,
        "hyperderm.fold": str(FOLD),
        "hyperderm.store": real.location.uri,
    }
    train_once(experiment, real, folder / "trials" / "0000", provenance, Memory())


@pytest.fixture(scope="module")
def trained(real, tmp_path_factory) -> Path:
    """A project folder with runs and the database that tracked them."""
    root = tmp_path_factory.mktemp("project")
    check_server(f"sqlite:///{root / 'mlflow.db'}")
    tracker = Tracker(f"sqlite:///{root / 'mlflow.db'}", "models", root / "outbox.db", root / "mlartifacts", print)
    for name, made in RUNS.items():
        train(made(), real, root / "runs" / name)
        tracker.open_run(f"{name}-key", name)
        tracker.close_run(f"{name}-key", "FINISHED")
    assert tracker.flush(60) == 0
    tracker.close()
    return root


@pytest.fixture
def project(trained, monkeypatch):
    for name in LEFT:
        if not (trained / name).exists():
            (trained / name).symlink_to(ROOT / name)
    monkeypatch.chdir(trained)
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))  # loading a model adds the folder with its code
    return trained


@pytest.fixture
def client(project) -> MlflowClient:
    uri = f"sqlite:///{project / 'mlflow.db'}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def loaded(project: Path, uri: str) -> mlflow.pyfunc.PyFuncModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlflow.db'}")
        return mlflow.pyfunc.load_model(uri)


def content(store: Path) -> np.ndarray:
    return np.stack([lesion.cube.reflectance for lesion in open_store(str(store)).lesions()])


def files_of(client: MlflowClient, name: str, number: int = 1) -> Path:
    return Path(client.get_model_version(name, str(number)).source.removeprefix("file://"))


# --- what a model answers


def test_a_generator_gives_the_cubes_that_generate_writes(tmp_path, project, client, real):
    made = register("noise", "lesions", alias="champion")
    assert (made.version, made.alias, made.replaced, made.uri) == (1, "champion", None, "models:/lesions@champion")
    model = loaded(project, made.uri)
    checkpoint = project / "runs/noise/trials/0000/best.pt"
    for diagnosis in ("melanoma", "dysplastic_nevus"):
        generate_here(real, checkpoint, str(tmp_path / diagnosis), counts={diagnosis: 4}, seed=7)
        cubes = model.predict({**ASKED, "diagnosis": diagnosis})
        assert (cubes.shape, cubes.dtype) == ((4, 16, 16, 16), np.float32)
        np.testing.assert_array_equal(cubes, content(tmp_path / diagnosis))
    assert model.metadata.metadata["wavelengths_nm"] == list(real.manifest.wavelengths_nm)
    assert model.metadata.metadata["diagnoses"] == sorted(real.manifest.diagnoses)
    assert model.metadata.signature.inputs.input_names() == ["count", "seed", "diagnosis"]
    assert model.input_example["diagnosis"] == "melanoma"
    version = client.get_model_version_by_alias("lesions", "champion")
    assert version.tags["hyperderm.checkpoint"] == read_checkpoint(checkpoint)[1]
    assert version.tags["hyperderm.manifest"] == real.manifest.fingerprint
    assert (version.tags["hyperderm.learner"], version.tags["hyperderm.fold"]) == ("dcgan", "1")
    assert 'mlflow.pyfunc.load_model("models:/lesions/1")' in version.description
    run = client.get_run(version.run_id)
    assert run.data.tags["hyperderm.key"] == "noise-key"
    assert run.info.status == "FINISHED"
    assert [each.model_id for each in run.outputs.model_outputs] == [model.metadata.model_id]


def test_the_folder_of_a_model_holds_code_and_no_pickle(client, project):
    register("noise", "kept")
    folder = files_of(client, "kept")
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert not {name for name in names if name.endswith((".pkl", ".pickle"))}
    assert (folder / "model_code.py").read_text() == (ROOT / "platform/hyperderm/tracking/model_code.py").read_text()
    assert (folder / "code/hyperderm/training/served_models.py").is_file()
    assert (folder / "code/hyperderm/cubes/tables").is_dir()
    wanted = (folder / "requirements.txt").read_text().split()
    locked = {line.split()[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    assert "torch" in " ".join(wanted)
    assert set(wanted) <= locked
    assert not {"ray", "mlflow", "optuna", "matplotlib"} & {one.partition("==")[0] for one in wanted}


def test_loading_imports_nothing_that_it_does_not_ask_for():
    """A process that imports what a model imports; the slow test installs exactly what it asks for."""
    own = [each for each in LEARNERS if each.role == "generator" and not each().packages]
    modules = [f"{each.__module__.rpartition('.')[0]}.learner" for each in own]
    assert len(modules) > 5
    named = ", ".join(["sys", "hyperderm.training.served_models", "hyperderm.learners.classifier.trained", *modules])
    code = f"import {named}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "ray",
        "mlflow",
        "optuna",
        "matplotlib",
        "sklearn",
        "timm",
        "torchvision",
        "diffusers",
        "albumentations",
        "plotly",
    }
    assert not heavy & set(done.stdout.split())


def test_a_generator_takes_photographs_as_generate_does(tmp_path, project, real):
    rgb = photographs(tmp_path / "rgb", size=16, diagnoses=("melanoma",))
    made = register("rgb", "from-photographs")
    model = loaded(project, made.uri)
    checkpoint = project / "runs/rgb/trials/0000/best.pt"
    generate_here(real, checkpoint, str(tmp_path / "made"), counts={"melanoma": 6}, seed=7, rgb=rgb)
    given = content(tmp_path / "rgb")[..., ::-1]  # a store holds B, G, R
    cubes = model.predict({"count": 6, "seed": 7, "diagnosis": "melanoma", "rgb": np.ascontiguousarray(given)})
    np.testing.assert_array_equal(cubes, content(tmp_path / "made"))
    with pytest.raises(StudyError, match=r"'rgb' has the shape \(4, 16, 16, 1\)\. Give \(n, 16, 16, 3\) linear R, G, B"):
        model.predict({**ASKED, "rgb": given[..., :1]})
    with pytest.raises(StudyError, match="33 different cubes of melanoma cannot be made from 4 photographs in 8 orient"):
        model.predict({**ASKED, "count": 33, "rgb": given})
    with pytest.raises(MlflowException, match="missing inputs"):
        model.predict(ASKED)


def test_a_classifier_gives_calibrated_probabilities(project, real):
    model = loaded(project, register("told", "melanoma").uri)
    state, _ = read_checkpoint(project / "runs/told/trials/0000/best.pt")
    made = RUNS["told"]()
    chosen = select(real, made)
    data = train_data(real.read(chosen.train), real.read(chosen.validation), real.manifest.wavelengths_nm, 16)
    learner = made.learner.build(made, data, Compute(torch.device("cpu")))
    learner.load_state_dict(state["learner"])
    held = data.validation
    logits = learner.logits_of(held.reflectance, held.masks)
    rule = fit_decision_rule(logits, truth(held.diagnoses))
    cubes = np.moveaxis(held.reflectance.numpy(), 1, 3)
    np.testing.assert_array_equal(model.predict(cubes), rule.calibration(logits.numpy()))
    told = model.metadata.metadata
    assert told["threshold"] == rule.threshold
    assert (told["calibration"]["temperature"], told["role"]) == (rule.calibration.temperature, "classifier")
    for wrong, said in {
        (1, 16, 16, 15): r"cubes of 15 bands; this classifier was trained on 16 bands.*Give \(n, 16, 16, 16\)",
        (2, 8, 16, 16): "cubes of 8 x 16 pixels.*hyperderm ingest --size 16",
    }.items():
        with pytest.raises(StudyError, match=said):
            model.predict(np.zeros(wrong, np.float32))
    with pytest.raises(StudyError, match=r"NaN or infinite values\. Fill missing pixels first"):
        model.predict(np.full((1, 16, 16, 16), np.nan, np.float32))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"count": 0}, "count = 0. Give a whole number from 1"),
        ({"count": 1, "seed": -1}, "seed = -1. Give a whole number from 0"),
        ({"count": 1, "diagnosis": "melanom"}, "'melanom' was not learnt by this generator. Did you mean 'melanoma'"),
        ({"count": 1, "diagnosis": None}, "'diagnosis' is missing. Give one of: dysplastic_nevus"),
        ({"seed": 1}, "'count' is missing. Give a whole number from 1"),
        ({"count": 1, "cuont": 3}, "'cuont' is nothing that can be asked for. Give count, seed, diagnosis and rgb."),
        ({"count": 1, "rgb": [[0.5]]}, "from noise and a diagnosis, not from photographs. Leave 'rgb' out."),
        (3, "a request of the type int. Give a dictionary"),
    ],
)
def test_requests_that_cannot_be_served(project, noise, asked, said):
    with pytest.raises(StudyError) as refused:
        noise.predict({"diagnosis": "melanoma"} | asked if isinstance(asked, dict) else asked)
    assert said in str(refused.value)


@pytest.fixture(scope="module")
def noise(trained, tmp_path_factory):
    """The model of a generator from noise, as its files give it."""
    folder = tmp_path_factory.mktemp("model")
    checkpoint = trained / "runs/noise/trials/0000/best.pt"
    shutil.copyfile(checkpoint, folder / "checkpoint.pt")
    facts = ModelFacts(read_checkpoint(checkpoint)[1], ("dysplastic_nevus", "melanoma", "nevus"))
    (folder / "facts.json").write_text(facts.to_json())
    return load_served(folder)


def test_a_checkpoint_of_another_model_is_refused(tmp_path, trained):
    for name, run in {"checkpoint.pt": "noise", "other.pt": "blind"}.items():
        shutil.copyfile(trained / f"runs/{run}/trials/0000/best.pt", tmp_path / name)
    facts = ModelFacts(read_checkpoint(tmp_path / "other.pt")[1], ("melanoma",))
    (tmp_path / "facts.json").write_text(facts.to_json())
    with pytest.raises(StudyError, match=r"is not the checkpoint of this model \(sha256"):
        load_served(tmp_path)


def test_what_makes_no_model_says_what_it_is_for(trained):
    state, digest = read_checkpoint(trained / "runs/told/trials/0000/best.pt")
    unmixer = Experiment(name="u", profile="small", learner=UnmixerConfig()).model_dump_json()
    with pytest.raises(StudyError, match=r"trained a unmixer .* Use it by `hyperderm unmix --run RUN`"):
        served({**state, "experiment": unmixer}, ModelFacts(digest, ("melanoma",)))


# --- what is refused, and leaves nothing


@pytest.fixture
def refused(command: Command, project, client):
    def refused(*arguments: object) -> str:
        before = state_of(client)
        done = command("register", *arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert state_of(client) == before, "something half-made"
        return done.stderr.removeprefix("error: ").strip()

    return refused


def state_of(client: MlflowClient) -> tuple:
    models = {each.name: each.aliases for each in client.search_registered_models()}
    versions = sorted((each.name, each.version) for each in client.search_model_versions())
    experiments = [each.experiment_id for each in client.search_experiments()]
    return models, versions, sorted(each.model_id for each in client.search_logged_models(experiments))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["noise", "--name", "a/b"], "--name 'a/b' is no name of a model. Use 1 to 250 letters, digits, _ and -"),
        (["noise", "--name", "a:b"], "--name 'a:b' is no name of a model"),
        (["noise", "--name", ""], "--name '' is no name of a model"),
        (["noise", "--name", "../a"], "--name '../a' is no name of a model"),
        (["noise", "--name", "a", "--alias", "latest"], "--alias 'latest' is reserved: MLflow gives it itself"),
        (["noise", "--name", "a", "--alias", "v2"], "--alias 'v2' is reserved"),
        (["noise", "--name", "a", "--alias", "the best"], "--alias 'the best' is no alias. Use letters"),
        (["nosie", "--name", "a"], "nosie is no run"),
        (["empty", "--name", "a"], "run empty has no best.pt yet. Let it reach its first validation"),
        (["blind", "--name", "a"], "cannot be asked for: this generator makes cubes from noise and learnt"),
        (["plain", "--name", "a"], "a checkpoint of learner.kind = spectral holds no fit"),
        (["rgb", "--name", "a", "--source-store", "away"], "away"),
    ],
)
def test_bad_input(refused, project, arguments, said):
    (project / "runs/empty/trials").mkdir(parents=True, exist_ok=True)
    assert said in refused(*arguments)


def test_a_name_belongs_to_one_role_and_one_set_of_bands_and_a_checkpoint_to_one_version(refused, client):
    register("noise", "taken")
    again = refused("noise", "--name", "taken", "--alias", "champion")
    assert "run noise is registered already: its checkpoint" in again
    assert "is version 1 of taken. Load it as models:/taken/1" in again
    assert "--name taken: its versions are of generator, run told is of classifier." in refused("told", "--name", "taken")
    client.create_registered_model("strangers")
    assert "--name strangers: a model of this name is not of hyperderm" in refused("noise", "--name", "strangers")
    client.create_registered_model("others", {"hyperderm.role": "generator", "hyperderm.bands": "31 bands, 400 … 700 nm"})
    assert "its versions are of 31 bands, 400 … 700 nm, run noise is of 16 bands" in refused("noise", "--name", "others")


def test_an_alias_moves_to_the_next_version(client, command):
    register("noise", "moving", alias="champion")
    done = command("register", "rgb", "--name", "moving", "--alias", "champion")
    assert done.returncode == 0, done.stderr
    assert "version 2 of moving: run rgb" in done.stdout
    assert "alias champion, which was version 1 before" in done.stdout
    assert int(client.get_model_version_by_alias("moving", "champion").version) == 2


def test_a_server_that_is_away_or_does_not_know_the_run(refused, project, monkeypatch, trained):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port()}")
    assert "does not answer" in refused("noise", "--name", "a")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlflow.db'}")
    shutil.copytree(project / "runs/noise", project / "runs/stray", dirs_exist_ok=True)
    path = project / "runs/stray/trials/0000/best.pt"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "provenance": {**state["provenance"], "run": "elsewhere"}}, path)
    assert "does not know the run that trained run stray (key elsewhere)" in refused("stray", "--name", "a")


@pytest.mark.parametrize(
    "step", ["set_registered_model_alias", "create_model_version", "log_outputs", "log_model_artifacts"]
)
def test_an_error_half_way_leaves_nothing(project, client, monkeypatch, step):
    if not client.search_registered_models("name='champions'"):
        register("rgb", "champions", alias="champion")
    before = state_of(client)

    def fail(*_: object, **__: object) -> None:
        raise MlflowException("the server has had enough")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, fail)
        with pytest.raises(TrackingError, match=r"does not register the model .the server has had enough"):
            register("noise", "never", alias="champion")
        with pytest.raises(TrackingError, match="does not register the model"):
            register("noise", "champions", alias="champion")  # the version that has it keeps it
    assert state_of(client) == before


def test_the_store_of_photographs_generators_is_needed(project, tmp_path, monkeypatch):
    path = project / "runs/moved/trials/0000/best.pt"
    shutil.copytree(project / "runs/rgb", project / "runs/moved", dirs_exist_ok=True)
    state = torch.load(path, weights_only=True)
    torch.save({**state, "provenance": {**state["provenance"], "hyperderm.store": str(tmp_path / "gone")}}, path)
    with pytest.raises(StoreError, match=r"is not where it was .* Say where: --source-store URI"):
        register("moved", "never")


def test_a_moved_project_keeps_its_models(tmp_path, project, monkeypatch, client):
    register("noise", "portable")
    moved = tmp_path / "elsewhere"
    shutil.copytree(project, moved, symlinks=True)
    shutil.move(project / "mlartifacts", tmp_path / "aside")
    try:
        check_server(f"sqlite:///{moved / 'mlflow.db'}")
        assert loaded(moved, "models:/portable/1").predict(ASKED).shape == (4, 16, 16, 16)
    finally:
        shutil.move(tmp_path / "aside", project / "mlartifacts")


# --- a clean environment


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_models_load_in_a_clean_environment(tmp_path, project, client):
    """A new environment with the model's requirements alone, without hyperderm: the same bits."""
    made = {name: register(run, name) for name, run in {"clean-generator": "noise", "clean-classifier": "told"}.items()}
    folders = {name: files_of(client, name, each.version) for name, each in made.items()}
    uv, venv = [sys.executable, "-m", "uv"], tmp_path / "venv"
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)
    python = str(venv / "bin/python")
    wanted = [word for folder in folders.values() for word in ("-r", str(folder / "requirements.txt"))]
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True, timeout=1500)
    held = np.random.default_rng(0).random((3, 16, 16, 16), np.float32)
    np.save(tmp_path / "held.npy", held)
    code = f"""
import importlib.util, json, sys, time
assert importlib.util.find_spec("hyperderm") is None and importlib.util.find_spec("ray") is None
import numpy as np, mlflow.pyfunc
began = time.monotonic()
generator = mlflow.pyfunc.load_model({str(folders["clean-generator"])!r})
seconds = time.monotonic() - began
np.save("cubes.npy", generator.predict({ASKED!r}))
classifier = mlflow.pyfunc.load_model({str(folders["clean-classifier"])!r})
np.save("probability.npy", classifier.predict(np.load("held.npy")))
import hyperderm
print(json.dumps([seconds, hyperderm.__file__]))
"""
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr
    seconds, place = json.loads(done.stdout.splitlines()[-1])
    assert Path(place).is_relative_to(folders["clean-generator"] / "code")
    size = sum(path.stat().st_size for path in folders["clean-generator"].rglob("*"))
    print(f"loaded in {seconds:.1f} s, {size / 1e6:.1f} MB")
    here = {name: loaded(project, each.uri) for name, each in made.items()}
    np.testing.assert_array_equal(np.load(tmp_path / "cubes.npy"), here["clean-generator"].predict(ASKED))
    np.testing.assert_array_equal(np.load(tmp_path / "probability.npy"), here["clean-classifier"].predict(held))
