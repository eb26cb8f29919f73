"""No password, key or token is left behind by a sweep: not in its files, MLflow, Ray's logs, on the screen, or in `ps`."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.command import project_of
from tests.services.front import front, make_certificate
from tests.services.marked import MARK, PASSWORD, SECRET, TOKEN, betraying, betrays, token, watching
from tests.services.mlflow_server import MlflowServer
from tests.services.s3_server import S3Server
from tests.services.test_sweep_cli import EXPERIMENT, HYPERDERM, SPACE, sweep, tree

USER = "ada"


@pytest.fixture
def project(tmp_path):
    for folder, name, text in (("experiments", "tiny", EXPERIMENT), ("search_spaces", "tiny", SPACE)):
        (tmp_path / "project" / folder).mkdir(parents=True)
        (tmp_path / "project" / folder / "__init__.py").touch()
        (tmp_path / "project" / folder / f"{name}.py").write_text(text)
    return tmp_path / "project"


@pytest.fixture
def ray_folder():
    """A folder of its own for Ray's sessions, with a name short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="hd", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def swept(project: Path, store: Path, variables: dict[str, str], *flags: str) -> tuple[subprocess.CompletedProcess[bytes], set]:
    """Run a sweep to its end, and return it with the command lines that were seen meanwhile."""
    with watching() as watched:
        done = subprocess.run(
            [str(HYPERDERM), *sweep(store), *flags],
            cwd=project, env={**os.environ, **variables}, capture_output=True, timeout=200,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert watched.looks > 10
    assert any(b"raylet" in line for line in watched.seen)
    return done, watched.seen


def nothing_betrayed(done, seen: set[bytes], *folders: Path) -> None:
    assert not betrays(done.stdout + done.stderr)
    assert not [line for line in seen if betrays(line)]
    assert betraying(folders) == []


def test_a_mark_is_found_in_every_form():
    for text in (f"x{TOKEN}", json.dumps({"k": f"{USER}:{PASSWORD}"}).encode().hex(), SECRET):
        assert betrays(text.encode())
    import base64

    for before in range(6):
        assert betrays(base64.b64encode(b"u" * before + f":{PASSWORD}".encode()))
    assert not betrays(MARK.lower().encode())


def test_a_sweep_leaves_no_secret(project, phantom_store, mlflow_server, ray_folder):
    """The short form: a password in MLflow's address, a key that nothing needs, a local Ray with a token."""
    variables = token({"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": SECRET, "RAY_TMPDIR": str(ray_folder)})
    with front(mlflow_server.uri, login=(USER, PASSWORD)) as uri:
        address = uri.replace("://", f"://{USER}:{PASSWORD}@")
        flags = ("--trials", "1", "--set", "training.images=32")
        done, seen = swept(project, phantom_store, variables | {"MLFLOW_TRACKING_URI": address}, *flags)
    assert b"entries wait" not in done.stdout
    nothing_betrayed(done, seen, project, mlflow_server.folder, ray_folder)
