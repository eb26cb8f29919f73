"""What many tests share: one Ray for the session, one small phantom store, and that store in Ray."""

import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
from xdist.scheduler import LoadScopeScheduling

from hyperderm.cluster.session import Cluster, connect, quiet_ray

quiet_ray()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and whom they start, ignore it

from tests.command import command  # noqa: E402, F401 - a fixture
from tests.services.mlflow_server import mlflow_server  # noqa: E402, F401 - a fixture


class ByFile(LoadScopeScheduling):
    """Of several processes one runs all files that need the session's Ray, and each other file goes to one as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "ray" if _needs_ray(self.config.rootpath / file) else file


@cache
def _needs_ray(file: Path) -> bool:
    return "ray_cluster" in file.read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def phantom_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 90 phantom lesions at 32 px with 3 folds."""
    from hyperderm.phantom.rendering import phantom
    from hyperderm.store.writer import write_store

    place = tmp_path_factory.mktemp("stores") / "phantom"
    write_store(str(place), (one.lesion for one in phantom(90, 32, 0)), fold_count=3, seed=0)
    return place


@pytest.fixture(scope="session")
def shared(phantom_store: Path, ray_cluster: Cluster) -> Any:
    """The store in Ray's object store, read once, for the generator `sweeps.tiny`."""
    from tests.cluster.sweeps import tiny

    return _shared(phantom_store, tiny())


@pytest.fixture(scope="session")
def told(phantom_store: Path, ray_cluster: Cluster) -> Any:
    """The same store for classifiers: melanoma against all others."""
    from tests.cluster.sweeps import classifier

    return _shared(phantom_store, classifier())


def _shared(place: Path, experiment: Any) -> Any:
    from hyperderm.cluster.shared_data import share
    from hyperderm.store.reader import open_store
    from hyperderm.training.selection import select

    store = open_store(str(place))
    return share(store, select(store, experiment), experiment)


@pytest.fixture(scope="session")
def mortal() -> Iterator[list[psutil.Process]]:
    """Processes that must have ended when the tests have."""
    processes: list[psutil.Process] = []
    yield processes
    _, alive = psutil.wait_procs(processes, timeout=90)
    assert not alive, "left behind"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    """A local Ray, started once."""
    with connect(None) as cluster:
        yield cluster
