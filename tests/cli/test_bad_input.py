"""What a user's mistakes get: exit code 2, one sentence with the remedy, no traceback, nothing half-written."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hyperderm import __version__, registry
from hyperderm.errors import ConfigError
from hyperderm.store.writer import write_store
from hyperderm.tracking.server import check_server
from hyperderm.workflows.find_store import check_source
from tests.ingest.test_ingest import fifteen_bands, good
from tests.store.lesions import lesions

ROOT = Path(__file__).resolve().parents[2]
HYPERDERM = Path(sys.executable).with_name("hyperderm")
LEFT = {"experiments", "search_spaces"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder of its own, so that runs/, data/ and mlflow.db land there."""
    registry.space("shsgan", registry.experiment("shsgan", "small"))  # imported from the checkout, not from here
    for name in LEFT:
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    place = tmp_path_factory.mktemp("cli") / "store"
    write_store(str(place), lesions(9, 32), fold_count=3)
    return place


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A tracking database as an earlier run leaves it: making one takes seconds."""
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    check_server(f"sqlite:///{path}")
    return path


@pytest.fixture
def run(project, command):
    return command


def spawn(project, *arguments, seconds=60) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    words = [str(HYPERDERM), *map(str, arguments)]
    return subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=seconds)


@pytest.fixture
def refused(run, project):
    def refused(*arguments, left=()) -> str:
        return sentence(run(*arguments), project, left)

    return refused


def sentence(done, project, left=()) -> str:
    """Return the one sentence on stderr of a command that was refused and left nothing but `left`."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert {p.name for p in project.iterdir()} - LEFT <= set(left), "something half-written"
    return done.stderr.removeprefix("error: ").strip()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# --- words ---


def test_hyperderm_alone_lists_the_verbs(run):
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.split("Commands:\n")[1].splitlines()}
    verbs = "ablation annotate-export audit bucket compare describe evaluate generate ingest phantom show train sweep store"
    assert set(listed) == {*verbs.split(), "curate", "unmix", "segment", "denoise", "register", "doctor"}
    assert all(listed.values())
    store = run("store")
    assert (store.returncode, store.stderr) == (0, "")
    assert "info" in store.stdout
    assert "export" in store.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweeep"], "No such command 'sweeep'. Did you mean 'sweep'? See `hyperderm --help`."),
        (["show"], "Missing argument 'EXPERIMENT'. See `hyperderm show --help`."),
        (
            ["show", "synthetic_vs_reel"],
            "unknown experiment or grid 'synthetic_vs_reel'. Did you mean 'synthetic_vs_real' or 'affine_vs_synthetic'?",
        ),
        (["show", "shgan"], "unknown experiment 'shgan'. Did you mean 'shsgan' or 'sngan' or 'wgan'?"),
        (
            ["show", "shsgan", "--set", "learner.ncritic=3"],
            "unknown configuration key 'learner.ncritic'. Did you mean 'learner.n_critic' or 'learner.critic' or "
            "'learner.lr_critic'?",
        ),
        (
            ["sweep", "shsgan", "--set", "learner.n_critic=none"],
            'learner.n_critic = "none" is refused: it should be a valid integer. For example --set learner.n_critic=2',
        ),
        (
            ["train", "shsgan", "--set", "training.batch_size=3", "--workers", "2"],
            "training.batch_size = 3 is not divisible by 2 workers. Choose a multiple of 2, or fewer workers",
        ),
        (["show", "shsgan", "--profile", "big"], "--profile 'big' is unknown. Use auto, small or full."),
        (
            ["sweep", "shsgan", "--profile", "small", "--store", "a", "--data", "b"],
            "--store and --data are both given. Give one: a store, or a folder of raw files to make one from.",
        ),
        (
            ["sweep", "shsgan", "--profile", "small", "--space", "shgan"],
            "unknown search space 'shgan'. Did you mean 'shsgan' or 'wgan' or 'fastgan'?",
        ),
        (
            ["ablation", 'arms=["real"]'],
            "unknown ablation 'arms=[\"real\"]'. A setting has its option: "
            """--set 'arms=["real"]' (make: SET='arms=["real"]').""",
        ),
        (
            ["ablation", "synthetic_vs_real", 'arms=["real", "only"]', "folds=[0]", "--plan"],
            'Got unexpected extra argument(s) (arms=["real", "only"] folds=[0]). A setting has its option: --set '
            """'arms=["real", "only"]'. See `hyperderm ablation --help`.""",
        ),
        (
            ["store", "info", "a", "b=c"],
            "Got unexpected extra argument(s) (b=c). See `hyperderm store info --help`.",
        ),
        (["ingest", "raw"], "--store is missing. Say where the store goes: --store data/mine"),
        (
            ["ingest", "raw", "--store", "s", "--wavelengths", "465:b:630"],  # :b: is an emoji to rich
            "--wavelengths '465:b:630' is neither A:B:N nor a list. Write --wavelengths 465:630:16, or list them: 465,470,…",
        ),
    ],
)
def test_wrong_words(arguments, said, refused):
    assert refused(*arguments) == said


def test_a_grid_is_shown_with_every_setting(run):
    done = run("show", "every_generator", "--profile", "small", "--set", "folds=[0]")
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    assert (shown["name"], shown["folds"], shown["curve"], shown["judge"]) == ("every_generator", [0], [0.25, 0.5], True)
    assert json.loads(run("show", "ablation_every_generator", "--profile", "small").stdout)["ratios"] == [1.0]
    assert "or a grid: a file experiments/ablation_<NAME>.py" in " ".join(run("show", "--help").stdout.split())
    assert "unknown configuration key 'learner.lr'" in run("show", "every_generator", "--set", "learner.lr=1").stderr


def test_as_a_user_types_it(project):
    done = spawn(project, "sweep", "shsgan", "--set", "learner.ncritic=3", seconds=20)
    assert sentence(done, project).startswith("unknown configuration key 'learner.ncritic'. Did you mean")
    assert done.stdout == ""
    assert spawn(project, "store", "info", "nowhere", seconds=20).returncode == 2
    assert spawn(project, "--version", seconds=20).stdout.strip() == __version__


# --- data ---


def test_missing_and_damaged_stores(project, sound, refused):
    for verb in (["store", "info"], ["sweep", "shsgan", "--profile", "small", "--store"]):
        said = refused(*verb, "nowhere")
        assert said.startswith("nowhere is not a store: no manifest.json. Make one with `hyperderm ingest SOURCE --store …`")
    shutil.copytree(sound, project / "mine")
    part = project / "mine" / "lesions" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    said = refused("store", "info", "mine", left=["mine"])
    assert said == (
        "mine: part lesions/part-00000.parquet does not match its sha256 in the manifest. Restore it, or ingest again."
    )


def test_a_manifest_nested_too_deeply_is_damaged(project, sound, refused):
    shutil.copytree(sound, project / "mine")
    (project / "mine" / "manifest.json").write_text("[" * 100_000)
    said = refused("store", "info", "mine", left=["mine"])
    assert said == "mine/manifest.json is damaged: it is nested too deeply. Restore it, or ingest again."


def test_a_name_that_no_folder_can_have_is_refused_before_anything_is_made(project, sound, refused):
    for words in (["train", "shsgan"], ["sweep", "shsgan"], ["ablation"]):
        said = refused(*words, "--profile", "small", "--store", "nowhere", "--name", "a" * 300)
        assert said == f"--name {'a' * 20}… is 300 bytes long. Use at most 255: that is how long a folder's name can be."


def test_folders_that_are_no_data_set(project, refused):
    (project / "raw").mkdir()
    sweep = ["sweep", "shsgan", "--profile", "small", "--data"]
    assert refused(*sweep, "raw", left=["raw"]).startswith("raw is empty. Expected images/{DNCube,")
    (project / "raw" / "pictures").mkdir()
    said = refused("ingest", "raw", "--store", "s", left=["raw"])
    assert said.startswith("raw is not in the layout of HSIDermoscopy: no images/{DNCube,MMCube,OtherCube} or masks/")
    assert said.endswith("name the folder that holds images/ and masks/")


def test_files_that_cannot_be_used_and_too_few_groups(project, run, refused):
    raw = project / "raw"
    fifteen_bands(raw)
    said = refused("ingest", "raw", "--store", "s", left=["raw"])
    assert said.startswith("the one image in raw cannot be used (images/MMCube/bad.mat: 15 bands but 16 wavelengths")
    for i in range(4):
        good(raw, f"MMCube/{i}", i)
    said = refused("ingest", "raw", "--store", "s", "--size", "16", left=["raw"])
    assert said.startswith("4 groups of source images cannot fill 5 folds. Use --folds 4 (ingest, phantom)")
    done = run("ingest", "raw", "--store", "s", "--size", "16", "--folds", "4")
    assert done.returncode == 0, done.stderr
    assert "4 of 16 x 16 x 16, 465 … 620 nm, spectral" in done.stdout
    assert "1 file set aside:\n  images/MMCube/bad.mat: 15 bands but 16 wavelengths" in done.stdout


def test_a_place_that_is_taken(project, sound, refused):
    shutil.copytree(sound, project / "mine")
    before = (project / "mine" / "manifest.json").read_bytes()
    said = refused("phantom", "--store", "mine", "--count", "9", left=["mine"])
    assert said == "--store mine: something is already there. Choose another place, or remove it first."
    assert (project / "mine" / "manifest.json").read_bytes() == before


def test_store_info(project, sound, run):
    place = project / "[red]mine"  # rich would take it for markup
    shutil.copytree(sound, place)
    done = run("store", "info", "[red]mine")
    assert (done.returncode, done.stderr) == (0, "")
    told = {line[:11].strip(): line[11:].strip() for line in done.stdout.splitlines()}
    assert told["store"] == "[red]mine"
    assert told["fingerprint"] == json.loads((place / "manifest.json").read_text())["fingerprint"]
    assert told["cubes"] == "9 of 32 x 32 x 3, 465 … 620 nm, spectral"
    assert told["diagnoses"] == "dysplastic_nevus 3, melanoma 3, nevus 3"
    assert told["folds"] == "3, seed 0, 9 groups"
    assert told["size"].endswith("MB in 1 part")


# --- servers and clusters ---


def test_batch_larger_than_the_train_role(project, sound, database, refused):
    shutil.copy(database, project)
    two = ("--set", "learner.critic=conv2d")  # the store has three bands
    said = refused("sweep", "shsgan", "--profile", "small", "--store", sound, *two, left=["mlflow.db"])
    assert said.startswith("search space 'shsgan': training.batch_size = 4 is larger than the train role (3 cubes). ")


def test_tracking_server_that_does_not_answer(sound, refused, monkeypatch):
    uri = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    said = refused("sweep", "shsgan", "--profile", "small", "--store", sound)
    assert said.startswith(f"The MLflow server at {uri} does not answer (")
    assert "unset it to track in a local file" in said


def test_tracking_uri_that_is_a_path(sound, refused, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    said = refused("train", "shsgan", "--profile", "small", "--store", sound)
    assert said.startswith("MLFLOW_TRACKING_URI='mlruns' cannot be used: plain folders and file: are refused by MLflow 3")
    assert "Use sqlite:///path/mlflow.db, or http(s)://host:port" in said


def test_ray_address_that_does_not_answer(project, monkeypatch):
    address = f"127.0.0.1:{closed_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    said = sentence(spawn(project, "sweep", "shsgan", seconds=15), project)
    assert said.startswith(f"RAY_ADDRESS={address} does not answer (")
    assert said.endswith("correct RAY_ADDRESS, or unset it to use this machine.")


def test_more_cpus_than_the_cluster_has(project, sound, database, refused, ray_cluster, monkeypatch):
    """Only a started Ray tells what there is; here it is the one that all tests share."""
    from hyperderm.cluster import shared_data
    from hyperderm.workflows import run_sweep

    monkeypatch.setattr(run_sweep, "connect", lambda _: contextlib.nullcontext(ray_cluster))
    monkeypatch.setattr(shared_data, "share", lambda *_: None)  # the cubes are not read into Ray, which takes seconds
    shutil.copy(database, project)
    (project / "search_spaces").unlink()
    (project / "search_spaces").mkdir()
    mine = "from optuna.distributions import IntDistribution\nVERSION = 1\n"
    mine += "def space(experiment):\n    return {'learner.n_critic': IntDistribution(1, 2)}\n"
    (project / "search_spaces" / "narrow.py").write_text(mine)
    monkeypatch.setattr(sys.modules["search_spaces"], "__path__", [str(project / "search_spaces")])
    sweep = ["sweep", "shsgan", "--space", "narrow", "--profile", "small", "--store", sound]
    few = ["--set", "training.batch_size=2", "--set", "sweep.cpus_per_worker=9999", "--set", "learner.critic=conv2d"]
    said = refused(*sweep, *few, left=["mlflow.db", "runs", "mlartifacts"])
    assert said.startswith("a trial needs 1 worker with 9999 CPU and 0 GPU each, the cluster has ")
    assert "fewer --workers-per-trial (train: --workers), --set sweep.cpus_per_worker" in said


def test_data_that_hold_the_project_are_refused_before_they_are_read(project):
    for data in (project, project.parent):
        with pytest.raises(ConfigError, match=r"--data .* holds this project.*Name the folder of the images"):
            check_source(None, data)
