"""Find out whether a run on a tracking server holds the description of a store."""

from hyperderm.tags import DESCRIBED_TAG
from hyperderm.tracking.fetch import asking


def is_described(uri: str, fingerprint: str) -> bool:
    """Return whether any active run, of any experiment, holds the description of the store with this fingerprint.

    Args:
        uri: `http(s)://…` or `sqlite:///…`.
        fingerprint: that of the store's manifest.

    Raises:
        TrackingError: the server does not answer.
    """
    with asking(uri):
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiments = [each.experiment_id for each in client.search_experiments()]
        return bool(client.search_runs(experiments, f"tags.`{DESCRIBED_TAG}` = '{fingerprint}'", max_results=1))
