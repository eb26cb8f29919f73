"""One real store for the tests of the grid."""

import pytest

from hyperderm.store.reader import Store
from tests.studies.grids import store


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """15 melanomas and 25 dysplastic nevi of 16 px in 5 folds, 9 and 15 of them in each train role."""
    return store(tmp_path_factory.mktemp("grid") / "real")
