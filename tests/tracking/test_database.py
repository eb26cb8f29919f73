"""The tracking database: whole or absent whatever happens to its maker, waited for, followed when it is moved."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.store.db import utils

from hyperderm import databases
from hyperderm.errors import TrackingError
from hyperderm.tracking.database import ready
from hyperderm.tracking.runs import Tracker
from hyperderm.tracking.server import check_server
from tests.killing import Killed, killed_after

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A database as MLflow itself wants it."""
    path = tmp_path_factory.mktemp("whole") / "mlflow.db"
    ready(path, lambda text: None)
    return path


@pytest.fixture
def said() -> list[str]:
    return []


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def check_whole(path: Path) -> None:
    """MLflow takes it as it is, and nothing lies beside it."""
    assert names(path.parent) == {path.name}
    engine = utils.create_sqlalchemy_engine(f"sqlite:///{path}")
    utils._verify_schema(engine)
    assert utils._all_tables_exist(engine)
    engine.dispose()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("statements", [1, 30, 200, 450])
def test_a_killed_maker_leaves_nothing_that_the_next_one_minds(tmp_path, statements, said):
    path = tmp_path / "mlflow.db"
    killed = killed_after(statements, lambda: ready(path, said.append))
    assert killed.signal == signal.SIGKILL, "the database is made in fewer statements"
    assert not path.exists(), "a half of it has its name"
    if statements == 200:
        ready(path, said.append)
        check_whole(path)
        assert said == []
