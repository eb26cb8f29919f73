"""What many tests share: one Ray for the session, one small phantom store."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hyperderm.studies.cluster import Cluster, connect, quiet_ray

quiet_ray()

from tests.command import command  # noqa: E402, F401 - a fixture
from tests.services.mlflow_server import mlflow_server  # noqa: E402, F401 - a fixture


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes one runs all tests that need the session's Ray, and each file of the others goes to one."""
    for item in items:
        name = "ray" if "ray_cluster" in getattr(item, "fixturenames", ()) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(scope="session")
def phantom_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 90 phantom lesions at 32 px with 3 folds."""
    from hyperderm.cubes.phantom import phantom
    from hyperderm.store.writer import write_store

    place = tmp_path_factory.mktemp("stores") / "phantom"
    write_store(str(place), (one.lesion for one in phantom(90, 32, 0)), fold_count=3, seed=0)
    return place


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
