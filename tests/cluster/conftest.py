"""The data of the cluster tests, read into the object store once."""

from pathlib import Path

import pytest

from hyperderm.cluster.session import Cluster
from hyperderm.cluster.shared_data import SharedData, share
from hyperderm.store.reader import open_store
from hyperderm.training.selection import select
from tests.cluster.sweeps import classifier, tiny


@pytest.fixture(scope="session")
def shared(phantom_store: Path, ray_cluster: Cluster) -> SharedData:
    store = open_store(str(phantom_store))
    return share(store, select(store, tiny()), tiny())


@pytest.fixture(scope="session")
def told(phantom_store: Path, ray_cluster: Cluster) -> SharedData:
    """The same store for classifiers: melanoma against all others."""
    store = open_store(str(phantom_store))
    return share(store, select(store, classifier()), classifier())
