"""Tell which nodes a cluster lost or gained while a study runs, and what that means for the jobs."""

import time
from collections.abc import Callable, Mapping

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from hyperderm.cluster.session import connected, described

EVERY_S = 2.0


class NodeWatch(Callback):
    """A callback that reports each node that leaves or joins the cluster, in one sentence.

    Args:
        tell: function that is called with a sentence.
        at_once: largest number of jobs that run at the same time, which stays as it was at the start.
        seconds: time between two looks at the cluster.
    """

    def __init__(self, tell: Callable[[str], None], at_once: int, seconds: float = EVERY_S) -> None:
        self._tell, self._at_once, self._seconds = tell, at_once, seconds
        self._known = alive()
        self._next = time.monotonic() + seconds

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Pickle as an empty object: Tune saves its callbacks only for its own restore, which is not used."""
        return object, ()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Look at the cluster again if the time has come."""
        if time.monotonic() < self._next:
            return
        found = alive()
        for sentence in changes(self._known, found, described(connected()), self._at_once):
            self._tell(sentence)
        self._known, self._next = found, time.monotonic() + self._seconds


def alive() -> dict[str, str]:
    """Return the id of each node that is alive, to its address."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


def changes(before: Mapping[str, str], after: Mapping[str, str], size: str, at_once: int) -> list[str]:
    """Return a sentence for each node that left or joined.

    Args:
        before: id to address of the nodes that were alive.
        after: the same now.
        size: size of the cluster now, in words.
        at_once: largest number of jobs that run at the same time.
    """
    lost = [f"node {before[node]} was lost; the cluster has {size}" for node in before if node not in after]
    limit = f"at most {at_once} run{'s' * (at_once == 1)} at a time, as at the start"
    new = [
        f"node {after[node]} joined; the cluster has {size}; {limit} (interrupt and repeat the command to use more)"
        for node in after
        if node not in before
    ]
    return lost + new
