"""Sweeps and grids on three nodes without a common disk, undisturbed and with a fault in mid-run, as a table."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hyperderm.store.export import export_store
from hyperderm.store.reader import open_store
from hyperderm.studies.study_file import read_study
from hyperderm.training.run_folder import STUDY
from tests.services.grids import wait_for
from tests.services.lab import HYPERDERM, Ended, Lab, Running
from tests.services.mlflow_server import MlflowServer
from tests.services.namespaces import Loopback
from tests.services.nodes import make_network
from tests.services.postgres_server import PostgresServer
from tests.services.s3_server import S3Server

KINDS = ("sweep", "grid")
TRIALS, IMAGES = 4, 2560
COUNTS = {"sweep": TRIALS, "grid": 10}
RUNS = {"sweep": 1 + TRIALS, "grid": 16}
AWAY_S, CUT_S = 30, 60


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, phantom_store: Path) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"), phantom_store, make_network(2), TRIALS, IMAGES)
    try:
        made.start_tracking()
        made.start()
        yield made
    finally:
        made.stop()


Table = dict[tuple[str, str], list[str]]


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Table]:
    """Fault and kind of command to its seconds and what the screen said; printed at the end with where the nodes were."""
    rows: Table = {}
    yield rows
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        apart = not isinstance(lab.network, Loopback)
        print("\nthree nodes", "in network namespaces" if apart else "on loopback: this user may not make namespaces")
        for (fault, kind), (seconds, said) in rows.items():
            print(f"{fault:18}{kind:7}{seconds:>6}  {said}")


def raylet_killed(lab: Lab, run: Running) -> None:
    raylet = lab.nodes.raylet(lab.place[lab.busy()])
    assert raylet
    raylet.kill()


def node_cut_off(lab: Lab, run: Running) -> None:
    number = lab.busy()
    lab.cut(number)
    time.sleep(CUT_S)
    lab.mend(number)


def driver_killed(lab: Lab, run: Running) -> None:
    run.process.kill()
    run.process.wait(30)
    run.process = lab.begin(run.kind, run.name).process


def mlflow_stopped(lab: Lab, run: Running) -> None:
    assert lab.mlflow
    without(lab.mlflow)


def s3_stopped(lab: Lab, run: Running) -> None:
    without(lab.s3)


def postgres_stopped(lab: Lab, run: Running) -> None:
    without(lab.postgres)


def without(server: MlflowServer | S3Server | PostgresServer) -> None:
    """Stop a server for half a minute."""
    server.stop()
    try:
        time.sleep(AWAY_S)
    finally:
        server.start()


def node_added(lab: Lab, run: Running) -> None:
    lab.join(1)


FAULTS: dict[Callable[[Lab, Running], None], str] = {
    raylet_killed: r"node 1\S+ was lost",
    node_cut_off: r"node 1\S+ was lost",
    driver_killed: r"[1-9] of \d+ (trials|jobs) done|goes on",
    mlflow_stopped: r"tracking: ",
    s3_stopped: r"the S3 server at \S+ was away",
    postgres_stopped: r"tracking: ",
    node_added: r"node 1\S+ joined",
}
"""What is done to a command in mid-run, and what the screen must say about it."""


def survive(lab: Lab, kind: str, fault: Callable[[Lab, Running], None] | None) -> Ended:
    """Run a sweep or a grid with a fault in its middle, to its end."""
    lab.heal()
    if fault is node_added:
        lab.leave(1)
        lab.nodes.wait_alive(2)
    run = lab.begin(kind, f"{fault.__name__ if fault else 'calm'}_{kind}")
    try:
        if fault:
            strike(lab, run, fault)
        ended = lab.finish(run)
        if "the same command delivers them" in ended.said:  # it ended while MLflow was away
            run.process = lab.begin(kind, run.name).process
            ended = lab.finish(run)
        return ended
    finally:
        if run.process.poll() is None:
            run.process.kill()


def strike(lab: Lab, run: Running, fault: Callable[[Lab, Running], None]) -> None:
    """Do a fault to a command in mid-run."""
    wait_for(lambda: run.process.poll() is not None or lab.in_the_middle(run), 200, f"{run.name}'s first checkpoint")
    assert run.process.poll() is None, f"{run.name} ended before its fault:\n{run.said()}"
    fault(lab, run)


def verdict(kind: str, ended: Ended, words: str) -> tuple[str, str]:
    """Return what is wrong with a row, or "", and the lines that name the fault."""
    lines = [line for line in ended.said.splitlines() if words and re.search(words, line)]
    wrong = []
    if ended.done != COUNTS[kind]:
        wrong.append(f"{ended.done} done")
    if ended.open:
        wrong.append(f"not FINISHED: {', '.join(ended.open)}")
    if len(set(ended.runs)) < len(ended.runs) or len(ended.runs) != RUNS[kind]:
        wrong.append(f"runs: {ended.runs}")
    if words and not lines:
        wrong.append("not told")
    return "; ".join(wrong), "\n".join(lines)


def scores(lab: Lab, name: str) -> list[float]:
    """The values of a sweep's trials, by number."""
    study = read_study(lab.project(name) / "runs" / name / STUDY)
    return [float(trial.value) for trial in study.trials]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_workers_on_several_nodes_train_and_generate_together(lab, monkeypatch):
    """Each node has one CPU, so two workers are on two nodes, and gloo talks between them."""
    lab.heal()
    run = lab.begin("sweep", "pairs", "--workers-per-trial", "2", "--trials", "2", "--set", "training.images=1280")
    ended = lab.finish(run)
    assert (ended.done, ended.open, len(ended.runs)) == (2, [], 3)
    again = lab.begin("sweep", "pairs_killed", "--workers-per-trial", "2", "--trials", "2", "--set", "training.images=1280")
    strike(lab, again, raylet_killed)
    ended = lab.finish(again, 600)
    assert (ended.done, ended.open, len(ended.runs)) == (2, [], 3), ended.said
    calm, killed = (scores(lab, name) for name in ("pairs", "pairs_killed"))
    assert killed == pytest.approx(calm, rel=1e-3)  # as on the undisturbed cluster, up to the order of sums
    lab.heal()
    for name, value in lab.s3.variables().items():
        monkeypatch.setenv(name, value)
    lab.call("pairs", "generate", "--run", "pairs", "--count", "8", "--workers", "2", "--store", "s3://lab/made")
    assert open_store("s3://lab/made").manifest.lesions == 8


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_streaming_and_a_grid_of_pairs_lose_a_node_and_end(lab):
    """Trials that stream their shards from S3, and a grid whose jobs have two workers, each with a raylet killed.

    The reader of each node keeps a CPU, so nodes have two.
    """
    lab.heal()
    for number in (0, 1):
        lab.leave(number)
        lab.join(number, cpus=2)
    lab.nodes.wait_alive(3)
    streamed = lab.begin("sweep", "streamed", "--trials", "3", "--set", "data.feed=stream", "--set", "data.window=1")
    strike(lab, streamed, raylet_killed)
    ended = lab.finish(streamed)
    assert (ended.done, ended.open, len(ended.runs)) == (3, [], 4), ended.said
    assert "train is streamed" in ended.said
    lab.heal()
    pairs = lab.begin("grid", "grid_of_pairs", "--set", "resources.workers=2")
    strike(lab, pairs, raylet_killed)
    ended = lab.finish(pairs, 600)
    assert (ended.done, ended.open, len(ended.runs)) == (COUNTS["grid"], [], RUNS["grid"]), ended.said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_ingest_on_the_nodes_loses_one_and_ends(lab, tmp_path_factory, phantom_store, monkeypatch):
    """The source lies on a disk that all nodes see, the store on S3; a source that they do not see is refused in words."""
    lab.heal()
    seen, hidden = tmp_path_factory.mktemp("raw") / "data", lab.folder / "raw"
    for folder in (seen, hidden):
        export_store(open_store(phantom_store), folder, "npz")
    words = ["--folds", "3", "--workers", "3"]
    refused = subprocess.run(
        [*HYPERDERM, "ingest", str(hidden), "--store", "s3://lab/hidden", *words],
        cwd=lab.project("ingest"), env=lab.environment(), capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "node" in refused.stderr
    lab.call("ingest", "ingest", str(seen), "--store", "s3://lab/calm", *words)
    screen = lab.project("ingest") / "screen.txt"
    with screen.open("wb") as stream:
        command = subprocess.Popen(
            [*HYPERDERM, "ingest", str(seen), "--store", "s3://lab/disturbed", *words],
            cwd=lab.project("ingest"), env=lab.environment(), stdout=stream, stderr=stream,
        )  # fmt: skip
    try:
        wait_for(lambda: command.poll() is not None or begun(lab, "disturbed"), 100, "a part of the store")
        assert command.poll() is None, screen.read_text()
        lab.nodes.raylet(lab.place[0]).kill()
        assert command.wait(200) == 0, screen.read_text()
    finally:
        if command.poll() is None:
            command.kill()
    for name, value in lab.s3.variables().items():
        monkeypatch.setenv(name, value)
    calm, disturbed = (open_store(f"s3://lab/{name}").manifest for name in ("calm", "disturbed"))
    assert disturbed.fingerprint == calm.fingerprint
    assert disturbed.lesions == calm.lesions > 0


def begun(lab: Lab, store: str) -> bool:
    """Whether something of a store is on S3."""
    return bool(lab.s3.client().list_objects_v2(Bucket="lab", Prefix=store).get("Contents"))


@pytest.mark.slow  # its short form is below
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", [None, *FAULTS], ids=lambda fault: fault.__name__ if fault else "undisturbed")
def test_a_fault_is_survived(lab, table, fault, kind):
    row = table.setdefault((fault.__name__ if fault else "undisturbed", kind), ["RED", ""])
    ended = survive(lab, kind, fault)
    wrong, said = verdict(kind, ended, FAULTS[fault] if fault else "")
    row[:] = [f"{ended.seconds:.0f} s", f"RED: {wrong}" if wrong else said]
    assert not wrong, ended.said


@pytest.mark.slow  # its short form: test_killed_trial_goes_on_from_its_checkpoint (studies/test_sweep.py)
@pytest.mark.timeout(300)
def test_a_raylet_dies_in_a_sweep_on_two_nodes(tmp_path, phantom_store):
    """Two `ray start` on loopback with a token; store and storage on S3; MLflow in a file."""
    made = Lab(tmp_path, phantom_store, Loopback(), 2, 2_400)
    try:
        made.start(1)
        run = made.begin("sweep", "short")
        strike(made, run, raylet_killed)
        ended = made.finish(run, 120)
    finally:
        made.stop()
    assert (ended.done, ended.open, len(ended.runs)) == (2, [], 3)
    lost = [line for line in ended.said.splitlines() if re.search(r"node 127\S+ was lost", line)]
    assert len(lost) >= 1, ended.said
