"""Examine this machine, and the nodes of a cluster, for everything that a start would refuse; nothing is left behind."""

import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, TimeoutError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hyperderm import __version__
from hyperderm.cluster.machine_facts import MachineFacts, code_digest, look, needed
from hyperderm.cluster.session import (
    Cluster,
    check_address,
    check_sockets,
    connect,
    connected_dashboard,
    described,
    temporary_folder,
    told_token,
    trials_at_once,
    unseen,
)
from hyperderm.cluster.visit import Visit, lost_nodes, visit
from hyperderm.errors import ClusterError, HyperdermError, StoreError, TrackingError, UnexpectedError
from hyperderm.reports.health import CLUSTER, HERE, Finding, judge_here, judge_visit, of_error
from hyperderm.store.location import Location
from hyperderm.store.manifest import MANIFEST
from hyperderm.trouble import reason_of, trouble_of
from hyperderm.workflows.handover import open_private
from hyperderm.workflows.workspace import Workspace

LIMIT_S = 25.0
"""Seconds after which a check is not waited for any more. Each request to a server has a limit of its own, of 3 to 8 s."""
JOIN_S = 4
"""Seconds for which a head node that answers may refuse to let this machine in."""
HEAD = "127.0.0.1:6379"
"""Where `ray start --head` listens by default."""


@dataclass(frozen=True)
class Examined:
    """What is examined.

    Attributes:
        workspace: where the project keeps its files, and which servers the environment names.
        nodes: whether every node of the cluster is visited.
        runs: the folder of all runs.
        store: URI of a store, or None.
        storage: the location that `--storage` names, or None.
        storage_error: why that location cannot be opened.
        code: digest of the code that runs here.
        packages: names of the packages whose versions are compared.
    """

    workspace: Workspace
    nodes: bool
    runs: Path
    store: str | None
    storage: Location | None
    storage_error: HyperdermError | None
    code: str
    packages: Sequence[str] = field(default_factory=list)


def asked_for(cluster: bool, store: str | None, storage: str | None, runs: Path | None) -> Examined:
    """Return what a user asked to be examined; no server is contacted. The arguments are those of `doctor`."""
    from hyperderm.training.storage import locate_storage

    workspace, place, error = Workspace.here(), None, None
    if storage is not None:
        try:
            place = locate_storage(storage)
        except StoreError as caught:
            error = caught
    code = code_digest(Path(__file__).resolve().parents[1])
    return Examined(workspace, cluster, workspace.runs(runs), store, place, error, code, needed())


def examine(asked: Examined) -> Iterator[Finding]:
    """Yield all findings; servers and the machine are asked while Ray connects."""
    with _run_folder(asked.runs) as probe:
        places = {"RUNS": asked.runs, "Ray": temporary_folder()}
        machine = _Background("machine", lambda: look(asked.packages, places, elsewhere=False))
        servers = [
            _Background("store", lambda: _store(asked)),
            _Background("storage", lambda: _storage(asked)),
            _Background("MLflow", lambda: _tracking(asked.workspace.tracking_uri)),
        ]
        visits, of_cluster = _cluster(asked, probe.folder)
        facts = machine.result()
        yield from judge_here(facts, __version__, asked.code) if isinstance(facts, MachineFacts) else facts
        yield probe.finding
        for each in servers:
            yield from each.findings()
        yield from of_cluster
        if isinstance(facts, MachineFacts):
            for visited in visits:
                yield from judge_visit(visited, facts, asked.code)


# --- the parts ---


@dataclass(frozen=True)
class _RunFolder:
    folder: Path | None
    finding: Finding


@contextmanager
def _run_folder(runs: Path) -> Iterator[_RunFolder]:
    """Begin a run in a folder of its own, as a start does, and yield the folder with the finding; remove it at the end.

    So its folder, locks, identity and databases are proven. Folders above it that did not exist are removed as well.
    """
    from hyperderm.tracking.event_log import EventLog
    from hyperderm.training.run_folder import EVENT_LOG, claim

    runs = runs.absolute()
    missing: list[Path] = []
    folder = runs / f".doctor-{uuid.uuid4().hex[:8]}"
    try:
        try:
            missing += [each for each in (runs, *runs.parents) if not each.exists()]
            with claim(folder, {}):
                EventLog(folder / EVENT_LOG).close()
            kept = "will be made by the first run" if missing else "can be written; locks and SQLite work there"
            found = _RunFolder(folder, Finding("good", HERE, "RUNS", f"{runs} {kept}"))
        except Exception as error:
            found = _RunFolder(None, of_error(HERE, "RUNS", _told(error)))
        yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            for each in missing:
                each.rmdir()


def _store(asked: Examined) -> Iterator[Finding]:
    """Read the store's manifest, and try to write an object beside it if it is on S3 and no storage is given."""
    if asked.store is None:
        return
    from hyperderm.store.reader import open_store
    from hyperderm.store.s3 import round_trip

    found = open_store(asked.store, verify=False)
    yield Finding(
        "good", HERE, "store", f"{asked.store}: {found.manifest.lesions} lesions, {len(found.manifest.parts)} parts"
    )
    if found.location.access is not None and asked.storage is None:
        try:
            round_trip(found.location)
            yield Finding("good", HERE, "S3", f"{found.location.bucket}: an object was written, read and removed")
        except StoreError as error:  # a key that may only read is enough for training
            yield of_error(HERE, "S3", error, "warning")


def _storage(asked: Examined) -> Iterator[Finding]:
    if asked.storage_error:
        raise asked.storage_error
    if asked.storage is not None:
        from hyperderm.store.s3 import round_trip

        round_trip(asked.storage)
        yield Finding("good", HERE, "storage", f"{asked.storage.uri}: an object was written, read and removed")


def _tracking(uri: str) -> Iterator[Finding]:
    from hyperderm.tracking.proof import look_at_tracking, prove_artifacts

    facts = look_at_tracking(uri)
    shown = f"{facts.shown} {facts.state}"
    major = [version.partition(".")[0] for version in (facts.server, facts.client)]
    if facts.server and major[0] != major[1]:
        said = f"{shown}; the server is MLflow {facts.server}, the client here {facts.client}"
        yield Finding("warning", HERE, "MLflow", said, f"Use a server of version {major[1]}.")
    else:
        yield Finding("good", HERE, "MLflow", f"{shown}{f' (MLflow {facts.server})' if facts.server else ''}")
    if facts.server:
        try:
            yield Finding("good", HERE, "MLflow files", f"a file was written to {prove_artifacts(uri)}, read and removed")
        except TrackingError as error:
            yield of_error(HERE, "MLflow files", error)


def _cluster(asked: Examined, probe: Path | None) -> tuple[list[Visit], list[Finding]]:
    """Return what was found on the nodes, and the findings about the cluster as a whole or about a local Ray."""
    address = asked.workspace.ray_address
    findings: list[Finding] = []
    try:
        if address is None:
            check_sockets()
            alone = Finding("good", HERE, "Ray", f"no RAY_ADDRESS: a start uses this machine, in {temporary_folder()}")
            return [], [_no_cluster() if asked.nodes else alone]
        token = told_token()
        with connect(address, JOIN_S) as cluster:
            said = f"RAY_ADDRESS={address}: {described(cluster)}"
            trials_at_once(cluster, 1, 1.0, 0.0, None)
            findings.append(Finding("good", CLUSTER, "Ray", said))
            findings.append(Finding("good", CLUSTER, "token", f"{token} is accepted" if token else "none is demanded"))
            findings += [*_of_cluster(address), *(_private(probe) if probe else [])]
            if not asked.nodes:
                return [], findings
            visits = visit(asked.packages, {"Ray": _session_root(cluster)}, _questions(asked, probe, cluster))
            return visits, [*findings, *_seen(asked, visits, cluster)]
    except HyperdermError as error:
        return [], [*findings, of_error(CLUSTER, "Ray", error)]


def _of_cluster(address: str) -> Iterator[Finding]:
    try:
        yield Finding("good", CLUSTER, "dashboard", f"takes jobs at {connected_dashboard(address)}")
    except ClusterError as error:
        yield of_error(CLUSTER, "dashboard", error, "warning")
    for node, reason in lost_nodes().items():
        yield Finding("warning", CLUSTER, "lost", f"node {node} died: {reason.rstrip('. ')}", "Start it again.")


def _private(probe: Path) -> Iterator[Finding]:
    """Yield a warning if a job on the cluster (`--detach`) could not be handed its keys in the folder of runs."""
    try:
        open_private(probe / "environment").close()
    except ClusterError as error:
        yield Finding("warning", CLUSTER, "RUNS", error.what.replace(str(probe), str(probe.parent)), error.remedy)


def _session_root(cluster: Cluster) -> Path:
    return Path(cluster.logs).parents[1]


def _questions(asked: Examined, probe: Path | None, cluster: Cluster) -> Mapping[str, Callable[[], None]]:
    """Return what every node is asked: whether it sees the folder of runs, or the bucket in its place, and the store."""
    from hyperderm.store.location import locate
    from hyperderm.store.s3 import probe as reach
    from hyperderm.store.s3 import round_trip

    found: dict[str, Callable[[], None]] = {}
    if asked.storage is not None:
        found["storage"] = partial(round_trip, asked.storage)
    elif probe is not None and len(cluster.nodes) > 1:
        found["RUNS"] = partial(_sees, probe)
    if asked.store is not None:
        with suppress(StoreError):  # told by what looks at it here
            store = locate(asked.store)
            if store.local:
                found["store"] = partial(_sees, Path(store.path) / MANIFEST)
            else:
                found["store"] = partial(reach, store, False, 1)
    return found


def _sees(path: Path) -> None:
    """Prove that this machine sees `path`.

    Raises:
        StoreError: it does not.
    """
    if not path.exists():
        raise StoreError(f"{path} is not there", "Put it on a disk that all nodes share.")


def _seen(asked: Examined, visits: Sequence[Visit], cluster: Cluster) -> Iterator[Finding]:
    """Yield one finding for each question, which names the nodes that met an error."""
    for name in dict.fromkeys(question for each in visits for question in each.answers):
        blind = {each.node: error for each in visits if (error := each.answers.get(name)) is not None}
        if not blind:
            how = "write, read and remove an object of" if name == "storage" else "see"
            yield Finding(
                "good", CLUSTER, name, f"all {len(visits)} nodes {how} it" if len(visits) > 1 else "the node sees it"
            )
            continue
        error = next(iter(blind.values()))
        if name == "store":
            local = "://" not in str(asked.store)
            said = f"the store {asked.store} is not visible from {', '.join(blind)}"
            remedy = (
                "Put the store on S3 or on a disk that all nodes share, or use --set feed=memory." if local else error.remedy
            )
            yield Finding("warning" if local else "bad", CLUSTER, name, said if local else f"{said}: {error.what}", remedy)
        elif name == "storage" and asked.storage is not None:
            told = unseen(asked.storage, list(blind))
            yield Finding("bad", CLUSTER, name, f"{told.what} ({error.what})", told.remedy)
        else:
            yield of_error(CLUSTER, name, unseen(asked.runs, list(blind)))


def _no_cluster() -> Finding:
    """Return the finding for `--cluster` without an address: does a head node listen here, or could one be started?"""
    try:
        check_address(HEAD, timeout_s=1)
        return Finding(
            "bad", CLUSTER, "Ray", f"RAY_ADDRESS is not set, but a head node listens at {HEAD}", f"export RAY_ADDRESS={HEAD}"
        )
    except ClusterError:
        port = int(HEAD.rpartition(":")[2])
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
                state = f"port {port} is free for it here"
            except OSError:
                state = f"port {port} is taken here, so give it another --port"
    return Finding(
        "bad",
        CLUSTER,
        "Ray",
        "RAY_ADDRESS is not set, so there is no cluster to look at",
        f"Start a head node (`ray start --head`; {state}) and export RAY_ADDRESS=host:port, or leave out --cluster.",
    )


# --- what runs beside ---


class _Background:
    """A check in a thread of its own, which Python does not wait for at its end."""

    def __init__(self, topic: str, call: Callable[[], MachineFacts | Iterator[Finding]]) -> None:
        self._topic = topic
        self._until = time.monotonic() + LIMIT_S
        self._said: list[Finding] = []
        self._ended: Future[MachineFacts | None] = Future()
        threading.Thread(target=self._run, args=(call,), name=f"hyperderm-{topic}", daemon=True).start()

    def _run(self, call: Callable[[], MachineFacts | Iterator[Finding]]) -> None:
        try:
            found = call()
            if isinstance(found, MachineFacts):
                self._ended.set_result(found)
                return
            for each in found:  # what is found before an error stays
                self._said.append(each)
        except Exception as error:
            self._said.append(of_error(HERE, self._topic, _told(error)))
        self._ended.set_result(None)

    def result(self) -> MachineFacts | list[Finding]:
        """Return the facts of a machine, or the findings in their place, when the check has ended or its time is over."""
        try:
            found = self._ended.result(max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            late = f"no answer within {LIMIT_S:.0f} s"
            return [*self._said, Finding("bad", HERE, self._topic, late, "Look at the server or disk, and its log.")]
        return self._said if found is None else found

    def findings(self) -> list[Finding]:
        """Return the findings, when the check has ended or its time is over."""
        found = self.result()
        return [] if isinstance(found, MachineFacts) else found


def _told(error: Exception) -> HyperdermError:
    """Return the error that a start would raise for `error`."""
    if isinstance(error, HyperdermError):
        return error
    return trouble_of(error) or UnexpectedError(f"{type(error).__name__}: {reason_of(error)}")
