"""Starting: interpreters behind odd paths, tokens, what Ray's core prints, workers that do not start."""

import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial

from hyperderm.cluster import session
from hyperderm.cluster.ray_output import captured_stderr
from hyperderm.cluster.session import quoted_interpreter, workers_found
from hyperderm.cluster.start_watch import StartWatch, last_complaint
from hyperderm.cluster.tune_driver import keep_keys
from hyperderm.errors import ClusterError

RAYLET = """[2026-11-28 01:17:05,046 I 8458 8458] (raylet) main.cc:567: Per-worker process group cleanup is ENABLED
bash: line 1: /tmp/My: No such file or directory
[2026-11-28 01:18:25,073 E 8458 8458] (raylet) worker_pool.cc:660: Some workers have not registered within the timeout.
"""


@pytest.mark.parametrize("path", ["/home/me/.venv/bin/python3.11", "/srv/a-b_c/python"])
def test_a_plain_path_needs_no_environment_of_its_own(path):
    assert quoted_interpreter(path) is None


@pytest.mark.parametrize("folder", ["My Drive", "Läsionen & Hände", "it's (mine)", "a;b$c", "皮肤 data"])
def test_an_interpreter_behind_any_folder_is_what_bash_starts(tmp_path, folder):
    """As Ray has it: bash -c "exec <py_executable> …", `py_executable` as it was given."""
    place = tmp_path / folder
    place.mkdir()
    python = place / "python"
    python.symlink_to(sys.executable)
    command = (quoted_interpreter(str(python)) or {"py_executable": str(python)})["py_executable"]
    done = subprocess.run(["bash", "-c", f"exec {command} -c 'print(6 * 7)'"], capture_output=True, text=True, check=False)
    assert done.stdout == "42\n", done.stderr


def test_workers_with_an_environment_start_below_my_drive(tmp_path, ray_cluster):
    """A trial's worker has one; without the quotes Ray's bash finds no /…/My and tries for ever."""
    import ray

    place = tmp_path / "My Drive"
    place.mkdir()
    script = place / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    environment = {**(quoted_interpreter(str(script)) or {}), "env_vars": {"SAID": "yes"}}

    @ray.remote(num_cpus=0, runtime_env=environment)
    def said() -> str:
        return os.environ["SAID"]

    assert ray.get(said.remote(), timeout=60) == "yes"


@pytest.mark.parametrize(
    ("said", "error", "held", "what"),
    [
        ("Unauthenticated: RPC error: InvalidAuthToken", "Failed to connect", True, "refuses this machine's token"),
        ("InvalidAuthToken: missing", "Failed to connect", False, "refuses a client without a token"),
        ("", "Failed to connect to Ray cluster at h:1.\nmore", True, "does not answer: Failed to connect to Ray cluster"),
    ],
)
def test_why_a_cluster_does_not_take_us(monkeypatch, said, error, held, what):
    monkeypatch.setattr(session, "token_at_hand", lambda: held)
    told = session._unstarted("h:1", error, said)
    assert what in told.what
    assert "RAY_ADDRESS=h:1" in told.what
    assert ("RAY_AUTH_MODE=token" in told.remedy) == bool(said)


def test_a_token_that_is_at_hand_is_used(monkeypatch, tmp_path):
    for name in (*session.TOKENS, "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    session.quiet_ray()
    assert "RAY_AUTH_MODE" not in os.environ
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("t")
    session.quiet_ray()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    session.quiet_ray()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    monkeypatch.delenv("RAY_AUTH_MODE")


def test_our_own_cluster_starts_its_workers_at_niceness_0(ray_cluster):
    assert session.SETTINGS["RAY_worker_niceness"] == "0"
    assert workers_found() == "workers at niceness 0"


def test_what_a_given_cluster_has_is_said(monkeypatch):
    monkeypatch.setattr(session, "on_each_node", lambda ask, seconds: {"a": 15, "b": 0, "c": None})
    said = workers_found()
    assert said.startswith("no worker started on c within 60 s")
    assert "workers at niceness 0 and 15; beside other busy processes they starve" in said
    assert said.endswith("RAY_worker_niceness=0")


def test_what_is_written_to_standard_error_is_heard_and_not_shown(capfd):
    with captured_stderr() as said:
        os.write(2, b"[2026 W 1 1] gcs_client.cc:210: Unauthenticated\n")
        assert "Unauthenticated" in said()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def waiting(status: str = Trial.PENDING) -> SimpleNamespace:
    return SimpleNamespace(status=status, trial_id="t1", config={"number": 7})


def test_a_worker_that_does_not_start_is_told_once_with_what_ray_says(tmp_path):
    (tmp_path / "raylet.err").write_text(RAYLET)
    notes = []
    watch = StartWatch(lambda trial, said: notes.append((trial.config["number"], said)), str(tmp_path), seconds=0.05)
    watch.on_step_end(0, [waiting()])
    assert notes == []
    time.sleep(0.06)
    for _ in range(3):
        watch.on_step_end(0, [waiting()])
    assert notes == [
        (7, f"no worker has started for it in 0 s: bash: line 1: /tmp/My: No such file or directory ({tmp_path}/raylet.err)")
    ]


def test_a_trial_that_runs_is_not_waited_for(tmp_path):
    notes = []
    watch = StartWatch(lambda trial, said: notes.append(said), str(tmp_path), seconds=0.05)
    watch.on_step_end(0, [waiting()])
    watch.on_step_end(0, [waiting(Trial.RUNNING)])
    time.sleep(0.06)
    watch.on_step_end(0, [waiting()])  # back from a lost worker: its minute begins anew
    assert notes == []
    time.sleep(0.06)
    watch.on_step_end(0, [waiting()])
    assert len(notes) == 1
    assert "all CPUs and GPUs are taken (`ray status`) or no worker can start" in notes[0]


def test_rays_own_error_where_nobody_else_said_anything(tmp_path):
    log = tmp_path / "raylet.err"
    log.write_text("\n".join(line for line in RAYLET.splitlines() if line.startswith("[")))
    assert last_complaint(log).endswith("Some workers have not registered within the timeout.")
    assert last_complaint(tmp_path / "none") == ""


@pytest.mark.slow
def test_a_head_node_that_wants_another_token(tmp_path, monkeypatch):
    """A real head node; the sentence instead of twenty warnings and "does not answer"."""
    token = "0123456789abcdef0123456789abcdef"
    place = tmp_path / "r"
    short = f"/tmp/hd{os.getpid()}"
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    ray = shutil.which("ray", path=Path(sys.executable).parent)
    start = [ray, "start", "--head", "--port", "6399", "--num-cpus", "1", "--include-dashboard=false", "--temp-dir", short]
    head = subprocess.Popen(
        [*start, "--block"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                session.check_address("127.0.0.1:6399")
                break
            except ClusterError:
                time.sleep(1)
        code = (
            "from hyperderm.cluster.session import connect, quiet_ray\nquiet_ray()\n"
            "try:\n    with connect('127.0.0.1:6399'): print('joined')\nexcept Exception as error: print(error)"
        )

        def join(**more: str) -> subprocess.CompletedProcess[str]:
            held = {**os.environ, "HOME": str(place), **more}
            held.pop("RAY_AUTH_MODE", None)
            return subprocess.run(
                [sys.executable, "-c", code], env=held, capture_output=True, text=True, timeout=120, check=False
            )

        wrong = join(RAY_AUTH_TOKEN=token[::-1])
        assert wrong.stdout.startswith("the Ray cluster at RAY_ADDRESS=127.0.0.1:6399 refuses this machine's token. Set")
        assert "InvalidAuthToken" not in wrong.stderr
        assert join(RAY_AUTH_TOKEN=token).stdout == "joined\n"
    finally:
        head.terminate()
        head.wait(30)
        shutil.rmtree(short, ignore_errors=True)


def test_a_sigterm_while_ray_starts_ends_like_ctrl_c(monkeypatch):
    """Ray's own handler, which leaves by SystemExit with the number of the signal, is in place before `ray.init` returns."""
    import ray

    def terminated(**asked: object) -> None:
        raise SystemExit(15)

    monkeypatch.setattr(ray, "init", terminated)
    with pytest.raises(KeyboardInterrupt), session.connect(None):
        pass


@pytest.fixture
def interruptible():
    """Signals raise KeyboardInterrupt, as in the command line."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_callback_of_python_is_not_lost(interruptible, number):
    """As while Ray is imported: an exception of a handler would be printed and forgotten, and the sweep would run on."""
    reached = []

    class Thing:
        pass

    def imports() -> None:
        with session.held_back():
            thing = Thing()
            watch = weakref.ref(thing, lambda gone: signal.raise_signal(number))
            del thing
            reached.append(watch())

    with pytest.raises(KeyboardInterrupt):
        imports()
    assert reached == [None]
    assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_signal_does_not_wait(interruptible):
    reached = []

    def imports() -> None:
        with session.held_back():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)
                reached.append(number)

    with pytest.raises(KeyboardInterrupt):
        imports()
    assert reached == [signal.SIGTERM]


def test_a_signal_that_another_handler_loses_is_still_seen(interruptible):
    """Ray puts a handler of its own in place, whose exception is lost where Ray drops it."""

    def starts() -> None:
        with session.held_back():
            signal.signal(signal.SIGTERM, lambda number, frame: None)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        starts()
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def test_keys_of_s3_are_not_sent_by_the_environment(monkeypatch):
    """Tune's own list holds them; what it copies would stand in `ps` and on Ray's dashboard."""
    given = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"}
    fresh = subprocess.run(
        [sys.executable, "-c", "from ray.tune.execution import class_cache as c; print(*c.ENV_VARS_TO_PROPAGATE)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert given & set(fresh.stdout.split()), "Tune sends none any more: this is not needed"
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", set(fresh.stdout.split()))
    keep_keys()
    assert not given & class_cache.ENV_VARS_TO_PROPAGATE
    assert not [name for name in class_cache.ENV_VARS_TO_PROPAGATE if "KEY" in name or "TOKEN" in name or "PASSWORD" in name]
