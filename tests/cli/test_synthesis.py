"""`hyperderm generate`, `store export` and `ingest --layout` as a user types them."""

import pytest
import scipy.io

from hyperderm.store.reader import open_store
from hyperderm.store.synthetic import origin_of
from tests.cli.test_bad_input import project, refused, run  # noqa: F401 - fixtures
from tests.ingest.test_photographs import picture, put, table
from tests.studies.test_synthesis import FOLD, checkpoint, photographs, real  # noqa: F401 - fixtures


@pytest.fixture
def generate(run, checkpoint):  # noqa: F811
    def generate(*more):
        runs = checkpoint.parents[3]
        return run("generate", "--runs", runs, "--run", "rgb", "--store", "made", *more)

    return generate


def test_a_set_and_its_mat_files(project, run, generate, checkpoint, real):  # noqa: F811
    done = generate("--count", 5, "--diagnosis", "melanoma", "--diagnosis", "dysplastic_nevus", "--mat", "mat")
    assert done.returncode == 0, done.stderr
    manifest = open_store("made").manifest
    origin = origin_of(manifest)
    assert manifest.diagnoses == origin.requested == {"melanoma": 5, "dysplastic_nevus": 5}
    said = done.stdout.splitlines()
    assert f"checkpoint of run rgb: {checkpoint}" in said
    assert f"5 melanoma, 5 dysplastic_nevus in made, fingerprint {manifest.fingerprint}" in said
    assert f"generator shsgan, checkpoint {origin.checkpoint[:12]}, fold {FOLD}, seed 0" in said
    assert "rejected because out of range: 0" in said
    assert any(line.startswith("Derived: each cube keeps the geometry") for line in said)
    assert any(line.startswith("Memorisation audit: ") and " of 10 cubes are copies of" in line for line in said)
    assert "Told from real melanoma: not measured: fewer than 10 groups of synthetic or of real cubes." in said
    assert scipy.io.loadmat(project / "mat/images/MMCube/5.mat")["DataCubeC"].shape == (16, 16, 16)
    exported = run("store", "export", "made", "--out", "again")
    assert exported.returncode == 0
    assert exported.stdout == "10 lesions in again\n"
    assert len(list((project / "again").rglob("*.mat"))) == 10


def test_copies_are_rejected_and_counted_apart(run, generate):  # noqa: F811
    done = generate("--count", 5, "--reject", "copies")
    assert done.returncode == 0, done.stderr
    origin = origin_of(open_store("made").manifest)
    assert origin.reject == "copies"
    assert f"rejected because copies of train lesions: {origin.rejected_copies}" in done.stdout.splitlines()
    assert f"{origin.rejected_copies} further cubes were copies and were left out of the set" in done.stdout


def test_a_set_is_curated(run, refused, generate, real):  # noqa: F811
    assert generate("--count", 6).returncode == 0
    base = ["curate", "made", "--store", "kept", "--real", real.location.uri, "--count", 2]
    done = run(*base, "--keep", "random", "--match", "both", "--drawn", 5)
    assert done.returncode == 0, done.stderr
    pool, kept = open_store("made").manifest, open_store("kept").manifest
    assert origin_of(kept).curated.model_dump() | {"clipped": 0.0} == {
        "asked": {"keep": "random", "match": "both"}, "pool": pool.fingerprint, "drawn": {"melanoma": 5}, "seed": 0,
        "copies": 0, "clipped": 0.0,
    }  # fmt: skip
    said = done.stdout.splitlines()
    assert f"2 melanoma in kept, fingerprint {kept.fingerprint}" in said
    assert f"from 5 melanoma of the set {pool.fingerprint[:12]}: keep=random, match=both" in said
    assert any(line.startswith("values set to the ends of train's range: ") for line in said)
    base[3] = "other"
    assert refused(*base, left=["made", "kept"]).startswith("curate: nothing is asked for.")
    assert refused(*base, "--keep", "best", left=["made", "kept"]).startswith(
        'curate: keep = "best" is refused: it should be'
    )
    assert refused(*base, "--keep", "random", "--diagnosis", "nevus", left=["made", "kept"]) == (
        "--diagnosis nevus. made holds melanoma."
    )
    assert refused(*base, "--keep", "random", "--drawn", 9, left=["made", "kept"]).startswith(
        "9 melanoma to choose from, but"
    )
    assert refused(*base, "--keep", "judge", left=["made", "kept"]).startswith("a judge of real against synthetic needs 10")
    base[1] = real.location.uri
    assert "is no synthetic set" in refused(*base, "--keep", "random", left=["made", "kept"])


def test_photographs_from_a_folder_to_a_set(project, run, generate):  # noqa: F811
    for i in range(3):
        put(project / "photos", f"{i}.png", picture(i))
    table(project / "photos", "image,label\n0,melanoma\n1,melanoma\n2,melanoma\n")
    done = run("ingest", "photos", "--store", "rgb", "--size", 16, "--folds", 3)
    assert done.returncode == 0, done.stderr
    assert "3 of 16 x 16 x 3, 465 … 610 nm, rgb" in done.stdout
    checked = run("ingest", "photos", "--check", "--layout", "photographs", "--size", 16)
    assert (
        "layout photographs: 3 lesions read, none would be stored (the error says why), cubes of 16 x 16 x 3 (3)"
        in checked.stdout
    )
    done = generate("--count", 4, "--rgb", "rgb")
    assert done.returncode == 0, done.stderr
    assert "erived" not in done.stdout
    assert origin_of(open_store("made").manifest).rgb == open_store("rgb").manifest.fingerprint


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--run", "x", "--count", "0"], "--count 0. Ask for at least 1 cube."),
        (["--count", "1"], "one of --run and --checkpoint is needed. Give one: a run, or a file it left."),
        (["--run", "x", "--checkpoint", "y", "--count", "1"], "one of --run and --checkpoint is needed. Give one"),
        (["--run", "x", "--count", "1"], "x is no run, neither in "),
        (
            ["--run", "x", "--count", "1", "--reject", "copy"],
            "--reject copy. Give one of: copies; or leave it out to keep every cube in range.",
        ),
        (["--checkpoint", "x.pt", "--count", "1"], "checkpoint x.pt does not exist. Give a best.pt or latest.pt"),
    ],
)
def test_wrong_words(arguments, said, refused):  # noqa: F811
    assert refused("generate", "--store", "made", *arguments).startswith(said)


def test_wrong_things(project, refused, checkpoint, real, tmp_path):  # noqa: F811
    base = ["generate", "--checkpoint", checkpoint, "--count", 2, "--store"]
    said = refused(*base, "made", "--diagnosis", "melanom")
    assert said.startswith("diagnosis 'melanom' was not learnt by this generator (data.diagnoses: ")
    assert said.endswith("Did you mean 'melanoma'?")
    assert refused(*base, "made", "--rgb", real.location.uri).startswith(f"--rgb {real.location.uri} holds spectral cubes")
    assert refused(*base, "made", "--rgb", "nowhere").startswith("nowhere is not a store")
    taken = refused(*base, real.location.uri)
    assert taken == f"--store {real.location.uri}: something is already there. Choose another place, or remove it first."
    photographs(tmp_path / "other", kind="spectral")
    said = refused(*base, "made", "--source-store", "other", left=["other"])
    assert said.startswith("the checkpoint was trained on store ")
    assert said.endswith("Give the store it was trained on: --source-store URI.")


def test_a_store_that_has_moved(project, refused, checkpoint, monkeypatch):  # noqa: F811
    from hyperderm.training import named_checkpoints

    read = named_checkpoints.read_checkpoint

    def moved(path):
        state, digest = read(path)
        return {**state, "provenance": {**state["provenance"], "hyperderm.store": "gone"}}, digest

    monkeypatch.setattr(named_checkpoints, "read_checkpoint", moved)
    said = refused("generate", "--checkpoint", checkpoint, "--count", 2, "--store", "made")
    assert said.startswith("the store the generator was trained on is not where it was (gone is not a store")
    assert said.endswith("Say where: --source-store URI.")
