"""Every long command where no file takes another byte: one sentence, exit code 2, and the same command goes on."""

import os
import re
import resource
import sys
import traceback
from pathlib import Path

import pytest
from mlflow.store.db import utils  # noqa: F401

from hyperderm.cli import main
from hyperderm.store.export import export_store
from hyperderm.store.reader import open_store
from hyperderm.tracking.server import check_server
from hyperderm.workflows import run_ablation as ablating  # noqa: F401 - imported before the forks
from hyperderm.workflows import run_sweep  # noqa: F401 - imported before the forks
from hyperderm.workflows import run_training as training  # noqa: F401 - imported before the forks
from tests.command import project_of
from tests.services.grids import make_project, words
from tests.services.test_sweep_cli import SPACE


def refusing(*arguments: object) -> tuple[int, str]:
    """Run the command in a fork whose files may not grow (the kernel's own refusal); return its code and what it said."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            sys.argv = ["hyperderm", *map(str, arguments)]
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = make_project(tmp_path / "project")
    (made / "search_spaces").mkdir()
    (made / "search_spaces" / "__init__.py").touch()
    (made / "search_spaces" / "tiny.py").write_text(SPACE)
    return made


@pytest.mark.parametrize("verb", ["sweep", "train", "ablation"])
def test_a_run_that_may_not_write(project, phantom_store, verb):
    uri = f"sqlite:///{project / 'mlflow.db'}"
    with project_of(project, MLFLOW_TRACKING_URI=uri, COLUMNS="120"):
        check_server(uri)
        one = ["tiny", "--profile", "small", "--store", phantom_store, "--name", "night"]
        code, said = refusing(*(words(phantom_store) if verb == "ablation" else [verb, *one]))
    assert code == 2, said
    assert "Traceback" not in said
    place = re.escape(str(project / "runs" / "night"))
    told = rf"error: {place}\S*: File too large\. Free some space there; then run the same command again: it goes on\."
    assert re.fullmatch(told, said.strip().splitlines()[-1]), said
    assert {path.name for path in (project / "runs" / "night").rglob("*")} <= {".lock"}


def test_an_ingest_that_may_not_write(command, phantom_store, tmp_path):
    export_store(open_store(phantom_store), tmp_path / "raw", "npz")
    ingest = ("ingest", tmp_path / "raw", "--store", tmp_path / "store")
    code, said = refusing(*ingest)
    assert code == 2, said
    told = rf"error: --store {tmp_path}/store cannot be written: .*File too large.*\. Check the place, its space.*\n"
    assert re.fullmatch(told, said), said
    assert "Traceback" not in said
    assert not (tmp_path / "store").exists()
    assert command(*ingest).returncode == 0
    assert open_store(tmp_path / "store").manifest.lesions == 90
