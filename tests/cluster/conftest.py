"""The data of the cluster tests, read into the object store once."""

from pathlib import Path

import pytest

from hyperderm.store.reader import open_store
from hyperderm.studies.cluster import Cluster
from hyperderm.studies.selection import select
from hyperderm.studies.trial import SharedData, share
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
