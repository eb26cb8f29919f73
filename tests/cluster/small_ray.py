"""What `test_streaming` runs in a process of its own: Ray with a tiny object store and two CPUs, and all CPUs asked for."""

import json
import sys
import threading
import time
from pathlib import Path

from hyperderm.studies.cluster import Cluster, quiet_ray

quiet_ray()


def used() -> dict[str, float]:
    """Bytes in the object store, and bytes that were spilled from it, in all."""
    import ray
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    stats = get_memory_info_reply(state).store_stats
    return {
        "used": stats.object_store_bytes_used + stats.object_store_bytes_fallback,
        "spilled": stats.spilled_bytes_total,
    }


class Watch:
    """Looks at the object store ten times a second."""

    def __init__(self) -> None:
        self.peak, self.spilled, self._end = 0.0, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            now = used()
            self.peak, self.spilled = max(self.peak, now["used"]), now["spilled"]

    def close(self) -> None:
        self._end.set()
        self._thread.join()


def connect(object_store: int, cpus: int) -> Cluster:
    import ray

    ray.init(
        address="local",
        num_cpus=cpus,
        object_store_memory=object_store,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    return Cluster(((float(cpus), 0.0),), "")


def main(folder: Path, uri: str, kind: str, object_store: int, cpus: int) -> dict[str, object]:
    """Run a sweep of two trials in which nothing limits how many run at once but the CPUs."""
    from hyperderm.store.reader import open_store
    from hyperderm.studies.feeding import choose
    from hyperderm.studies.selection import select
    from hyperderm.studies.trial import share
    from tests.cluster.sweeps import Memory, classifier, run, tiny

    cluster = connect(object_store, cpus)
    store = open_store(uri)
    settings = {"data__window": 1, "data__sample": 16, "training__images": 400, "training__validate_every": 200}
    settings |= {"sweep__grace_images": 400}
    experiment = (tiny if kind == "shsgan" else classifier)(sweep__trials=2, data__size=32, **settings)
    selection = select(store, experiment)
    feeding = choose(store, selection, experiment)
    watch = Watch()
    shared = share(store, selection, experiment, feeding)
    began = time.monotonic()
    memory = Memory()
    run(folder, experiment, shared, cluster, memory)
    watch.close()
    return {
        "streams": feeding.streams,
        "needed": feeding.needed,
        "said": feeding.said(1),
        "left": shared.left(cluster).cpus,
        "reports": {str(k): v for k, v in memory.reports.items()},
        "ended": [e[0] for e in memory.events],
        "peak": watch.peak,
        "spilled": watch.spilled,
        "seconds": time.monotonic() - began,
    }


if __name__ == "__main__":
    folder, uri, kind, object_store, cpus = sys.argv[1:]
    print(json.dumps(main(Path(folder), uri, kind, int(object_store), int(cpus))))
