"""What `test_stream_readers` runs in a process of its own: Ray with a tiny object store and two CPUs, both asked for."""

import json
import sys
import threading
import time
from pathlib import Path

from hyperderm.cluster.session import Cluster, quiet_ray

quiet_ray()


def used() -> dict[str, float]:
    """Bytes in the object store as its node reports them, and bytes that lie spilled on the disk."""
    import ray

    name = "object_store_memory"
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    files = [f for folder in session.glob("ray_spilled_objects*") for f in folder.rglob("*") if f.is_file()]
    return {
        "used": ray.cluster_resources()[name] - ray.available_resources().get(name, 0.0),
        "spilled": float(sum(file.stat().st_size for file in files)),
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
            self.peak, self.spilled = max(self.peak, now["used"]), max(self.spilled, now["spilled"])

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
    from hyperderm.cluster.feed_choice import choose_feed
    from hyperderm.cluster.shared_data import share
    from hyperderm.store.reader import open_store
    from hyperderm.training.selection import select
    from tests.cluster.sweeps import Memory, classifier, run, tiny

    cluster = connect(object_store, cpus)
    store = open_store(uri)
    settings = {"data__window": 1, "data__sample": 16, "training__images": 160, "training__validate_every": 80}
    settings |= {"sweep__grace_images": 160}
    experiment = (tiny if kind == "shsgan" else classifier)(sweep__trials=2, data__size=32, **settings)
    selection = select(store, experiment)
    feed_choice = choose_feed(store, selection, experiment)
    watch = Watch()
    shared = share(store, selection, experiment, feed_choice)
    began = time.monotonic()
    memory = Memory()
    run(folder, experiment, shared, cluster, memory)
    watch.close()
    return {
        "streams": feed_choice.streams,
        "needed": feed_choice.needed,
        "said": feed_choice.said(1),
        "left": shared.for_trials(cluster).cpus,
        "reports": {str(k): v for k, v in memory.reports.items()},
        "ended": [e[0] for e in memory.events],
        "reasons": [e[2] for e in memory.events if e[0] == "failed"],
        "peak": watch.peak,
        "spilled": watch.spilled,
        "seconds": time.monotonic() - began,
    }


if __name__ == "__main__":
    folder, uri, kind, object_store, cpus = sys.argv[1:]
    print(json.dumps(main(Path(folder), uri, kind, int(object_store), int(cpus))))
