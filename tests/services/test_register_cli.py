"""`hyperderm register` of a sweep's trials on a real MLflow server, loaded back from it."""

import contextlib

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from hyperderm import workflows
from hyperderm.errors import TrackingError
from hyperderm.studies.named_runs import checkpoint_of_run
from tests.command import project_of
from tests.services.mlflow_server import mlflow_server  # noqa: F401 - a fixture
from tests.services.test_sweep_cli import project  # noqa: F401 - a fixture


@pytest.mark.slow  # its short form, on a database file, is in tests/workflows/test_run_registration.py
@pytest.mark.timeout(300)
def test_trials_of_a_sweep_become_versions_on_a_server(project, phantom_store, ray_cluster, mlflow_server, monkeypatch):  # noqa: F811
    from hyperderm.workflows import run_sweep

    monkeypatch.setattr(run_sweep, "connect", lambda _: contextlib.nullcontext(ray_cluster))
    with project_of(project, MLFLOW_TRACKING_URI=mlflow_server.uri, COLUMNS="160"):
        assert workflows.sweep("tiny", profile="small", store=str(phantom_store), name="night", trials=2).exit_code == 0
        best = int(checkpoint_of_run("night", project / "runs")[0].parent.name)
        first = workflows.register("night", "lesions", alias="champion")
        second = workflows.register(f"night/{1 - best}", "lesions")
        with pytest.raises(TrackingError, match=f"trial {best:03d} of sweep night is registered already.* is version 1 of"):
            workflows.register(f"night/{best}", "lesions", alias="champion")
        client = MlflowClient(mlflow_server.uri)
        trials = [client.get_run(each.run_id).data.tags["hyperderm.trial"] for each in (first, second)]
        assert trials == [str(best), str(1 - best)]
        rgb = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
        asked = {"count": 3, "diagnosis": "melanoma", "rgb": rgb}
        made = {uri: mlflow.pyfunc.load_model(uri).predict(asked) for uri in (first.uri, second.uri)}
        assert all(cubes.shape == (3, 16, 16, 16) for cubes in made.values())
        assert not np.array_equal(*made.values())
