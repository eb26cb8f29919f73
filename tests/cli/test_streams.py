"""Output that nobody reads, or that is full, ends no work; Ctrl-C before the work begins ends with 130 and not a word."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import typer
from rich.console import Console

from hyperderm.cli import app, main
from hyperderm.cli import terminal as streams
from hyperderm.errors import CubeError, StoreError
from hyperderm.ingest.layouts.scene_folder import Camera
from hyperderm.ingest.source import CropOptions, make_job

READERS = ("gone", "closed", "full", "pipe")


def onto(number: int, reader: str) -> int:
    """Put something of this kind in the place of a descriptor; return what can be read of a pipe, else -1."""
    if reader == "closed":
        os.close(number)
        return -1
    read = -1
    if reader == "full":
        write = os.open("/dev/full", os.O_WRONLY)
    else:
        read, write = os.pipe()
    os.dup2(write, number)
    os.close(write)
    if reader == "gone":
        os.close(read)
    return read


def chatter(aside: bool = False) -> None:
    """Print in three ways, then do what counts."""
    if aside:
        streams.print_aside()
    for number in range(3):
        print(f"line {number}")
        Console().print("of Rich")
        typer.echo("of typer")
    Path("done").touch()


def ended(output: str, error: str, *words: str) -> tuple[int, str]:
    """Run a command that prints in a fork with such streams; return its code and what its standard error took."""
    child = os.fork()
    if child == 0:
        code = 70
        with open(os.devnull) as sys.stdin, suppress(BaseException):  # noqa: PTH123
            sys.stdout = sys.stderr = None
            kinds = {1: output, 2: error}
            read = {number: onto(number, kinds[number]) for number in sorted(kinds, key=lambda n: kinds[n] == "closed")}[2]
            sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) if k != "closed" else None for n, k in kinds.items())
            streams.outlive_readers()
            app.command()(chatter)
            sys.argv = ["hyperderm", "chatter", *words]
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
            sys.stderr.flush()
            if error == "pipe":
                os.close(2)
                Path("said").write_bytes(os.read(read, 9999))
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, Path("said").read_text() if error == "pipe" else ""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("error", READERS)
@pytest.mark.parametrize("output", ["gone", "closed"])
def test_what_nobody_reads_ends_nothing(folder, output, error):
    assert ended(output, error) == (0, "")
    assert (folder / "done").exists()


def test_a_full_output_is_told_at_the_end_of_what_is_there_to_print(folder):
    assert ended("full", "pipe") == (
        2,
        "error: standard output: No space left on device: what the command prints is not whole. "
        "Give it a place that takes it, then repeat the command.\n",
    )
    assert (folder / "done").exists()


def test_a_full_output_is_told_once_of_what_prints_aside(folder):
    told = "standard output: No space left on device; the work goes on, and nothing more is printed\n"
    assert ended("full", "pipe", "--aside") == (0, told)
    assert (folder / "done").exists()


def test_what_an_earlier_command_of_this_process_declared_does_not_count(folder, monkeypatch):
    monkeypatch.setattr(streams.OutputFile, "aside", True)
    assert ended("full", "pipe")[0] == 2


def test_a_store_that_is_whole_is_not_asked_for_again(tmp_path):
    """What `phantom` prints is not its purpose: repeated, it would be refused, because the store is there."""
    words = ["phantom", "--store", str(tmp_path / "store"), "--count", "6", "--size", "16", "--folds", "0"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([sys.executable, "-m", "hyperderm", *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("the work goes on")) == (0, 1)
    assert (tmp_path / "store/manifest.json").exists()


@pytest.mark.parametrize("error", ["full", "gone", "closed"])
def test_an_error_that_cannot_be_printed_keeps_its_code(error):
    assert ended("pipe", error, "--nonsense") == (2, "")


def begun(folder):
    """A command whose entry module has just printed its first line, before it imports the rest."""
    code = "import hyperderm.__main__ as entry; print('begun', flush=True); entry.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "store", "info", "nothing"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.fixture(scope="module")
def whole_s(tmp_path_factory):
    """The seconds that the command takes undisturbed on this machine."""
    process, start = begun(tmp_path_factory.mktemp("undisturbed")), time.monotonic()
    process.communicate(timeout=30)
    return time.monotonic() - start


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_ctrl_c_while_packages_are_imported(tmp_path, whole_s, share):
    """The interrupt comes at three instants of what the entry module imports."""
    process = begun(tmp_path)
    time.sleep(share * whole_s)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.strip() == ""


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), StoreError("x")])
def test_an_interrupt_in_a_command_is_130(command, monkeypatch, raised):
    def fail(*_: object, **__: object):
        raise raised

    monkeypatch.setattr("hyperderm.store.reader.open_store", fail)
    done = command("store", "info", "anything")
    assert done.returncode == (130 if isinstance(raised, KeyboardInterrupt) else 2)


def test_names_that_are_not_utf_8_are_refused_where_they_enter(command, tmp_path, monkeypatch):
    name = os.fsdecode(b"n\xf6t")
    monkeypatch.chdir(tmp_path)
    for words, told in {
        ("store", "info", name): r"n\xf6t",
        ("phantom", "--store", f"x/{name}"): r"--store x/n\xf6t",
        ("phantom", f"--store=x/{name}"): r"--store=x/n\xf6t",
    }.items():
        done = command(*words)
        assert (done.returncode, done.stderr) == (2, f"error: {told}: its name is not UTF-8. Rename it.\n")
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{name}")
    done = command("show", "spectral")
    assert done.stderr == r"error: MLFLOW_TRACKING_URI=sqlite:///n\xf6t: its name is not UTF-8. Rename it." + "\n"
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    done = command("--version")
    assert (done.returncode, done.stderr) == (
        2,
        f"error: the working folder {tmp_path}/n\\xf6t: its name is not UTF-8. Rename it.\n",
    )


def test_a_source_folder_that_is_not_utf_8_is_told_once(tmp_path):
    source = tmp_path / os.fsdecode(b"n\xf6t")
    source.mkdir()
    with pytest.raises(CubeError, match=r"n\\udcf6t: its name is not UTF-8\. Rename it"):
        make_job(source, "auto", CropOptions(), Camera())


def test_a_working_folder_that_is_gone_is_named(command, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = command("show", "spectral")
    monkeypatch.chdir(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the working folder: it was removed, or moved away. Go to a folder that is there")
