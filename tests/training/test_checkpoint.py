import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch

from hyperderm.errors import CheckpointError, DiskFull, HyperdermError, MachineTrouble, StudyError
from hyperderm.training.checkpoint import BEST, LATEST, PREVIOUS, CheckpointFolder
from hyperderm.trouble import trouble_of


def value(folder: CheckpointFolder, name: str = LATEST) -> int:
    return folder.load(name)["x"].item()


def saved(folder: Path, *steps: tuple[int, bool]) -> CheckpointFolder:
    made = CheckpointFolder(folder)
    for x, best in steps:
        made.save({"x": torch.full((1000,), x)}, best=best)
    return made


def resumed(folder: Path) -> tuple[str, int, str]:
    """What a run would go on from: the file, its content, and what is said."""
    fresh = CheckpointFolder(folder)
    name, state = fresh.resume()
    return name, int(state["x"][0]), fresh.told()


def test_comes_back_as_it_was(tmp_path: Path):
    state = {"w": torch.randn(3, dtype=torch.float64), "n": 3, "s": "text", "list": [1.5, float("inf")], "none": None}
    folder = CheckpointFolder(tmp_path / "not" / "there")
    assert folder.load() is None
    assert folder.resume() is None
    folder.save(state)
    again = folder.load()
    assert torch.equal(again.pop("w"), state.pop("w"))
    assert again == state


def test_best_stays_while_latest_goes_on_and_the_one_before_is_kept(tmp_path: Path):
    folder = CheckpointFolder(tmp_path)
    for x, best in ((1, True), (2, True), (3, False), (4, False)):
        folder.save({"x": torch.tensor(x)}, best=best)
    assert (value(folder), value(folder, PREVIOUS), value(folder, BEST)) == (4, 3, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [BEST, LATEST, PREVIOUS]


def test_each_is_a_file_of_its_own(tmp_path: Path):
    saved(tmp_path, (1, True), (2, True))
    assert len({(tmp_path / name).stat().st_ino for name in (BEST, LATEST, PREVIOUS)}) == 3
    assert {(tmp_path / name).stat().st_nlink for name in (BEST, LATEST, PREVIOUS)} == {1}


def test_each_file_is_synced_before_it_has_its_name_and_the_folder_after(tmp_path: Path, monkeypatch):
    order, fsync, replace = [], os.fsync, os.replace

    def synced(number):
        path = Path(f"/proc/self/fd/{number}").readlink()
        order.append("folder" if path.is_dir() else f"synced {path.name}")
        fsync(number)

    def renamed(made, target):
        order.append(Path(target).name)
        return replace(made, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    CheckpointFolder(tmp_path / "run").save({"x": torch.tensor(1)}, best=True)
    assert order == [f"synced {BEST}", BEST, "folder", f"synced {LATEST}", LATEST, "folder"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_write_that_fails_half_way_leaves_the_old_files_and_nothing_else(tmp_path: Path, monkeypatch, number):
    folder = saved(tmp_path, (1, True))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        folder.save({"x": torch.tensor(2)}, best=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    told = trouble_of(caught.value)
    assert isinstance(told, MachineTrouble)
    assert isinstance(told, DiskFull) == (number != errno.EIO)
    assert str(tmp_path / BEST) in told.what
    assert os.strerror(number) in told.what


def test_a_kill_between_best_and_latest_promises_nothing_that_is_not_there(tmp_path: Path, monkeypatch):
    folder = saved(tmp_path, (1, True))
    replace = os.replace

    def die(made, target):
        if Path(target).name == LATEST:
            raise KeyboardInterrupt
        return replace(made, target)

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        folder.save({"x": torch.full((1000,), 2)}, best=True)
    assert int(folder.load(BEST)["x"][0]) == 2
    assert CheckpointFolder(tmp_path).resumable()
    assert resumed(tmp_path) == (PREVIOUS, 1, "")  # the resumed run makes 2 again; nothing was damaged


DAMAGE = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "cut by a byte": lambda whole: whole[:-1],
    "empty": lambda whole: b"",
    "text": lambda whole: b"not a checkpoint",
    "zeroes": lambda whole: bytes(len(whole)),
    "one bit of a weight": lambda whole: whole.replace(b"\x04\0\0\0\0\0\0\0\x04", b"\x05\0\0\0\0\0\0\0\x04", 1),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_latest_falls_back_to_the_one_before_and_says_so(tmp_path: Path, damage):
    saved(tmp_path, (1, False), (2, True), (3, False), (4, False))
    whole = (tmp_path / LATEST).read_bytes()
    (tmp_path / LATEST).write_bytes(DAMAGE[damage](whole))
    assert (tmp_path / LATEST).read_bytes() != whole
    name, x, note = resumed(tmp_path)
    assert (name, x) == (PREVIOUS, 3)
    assert note.startswith(f"checkpoint {tmp_path / LATEST} cannot be read (")
    assert note.endswith("); it goes on from previous.pt instead")
    assert "\n" not in note


def test_damage_never_takes_the_place_of_the_one_before(tmp_path: Path):
    saved(tmp_path, (1, False), (2, False))
    (tmp_path / LATEST).write_bytes(b"half")
    folder = CheckpointFolder(tmp_path)
    assert folder.resume()[0] == PREVIOUS
    folder.save({"x": torch.tensor(2)})
    assert (value(folder), int(folder.load(PREVIOUS)["x"][0])) == (2, 1)
    assert folder.told()
    assert not folder.told(), "it is said once"


def test_the_best_one_is_better_than_nothing(tmp_path: Path):
    saved(tmp_path, (1, True), (2, False), (3, False))
    for name in (LATEST, PREVIOUS):
        (tmp_path / name).write_bytes(b"half")
    name, x, note = resumed(tmp_path)
    assert (name, x) == (BEST, 1)
    assert note.endswith("it goes on from best.pt instead")


def test_where_all_are_damaged_the_remedy_names_all(tmp_path: Path):
    saved(tmp_path, (1, True), (2, False))
    for name in (LATEST, PREVIOUS, BEST):
        (tmp_path / name).write_bytes(b"half")
    with pytest.raises(CheckpointError, match=rf"{LATEST} cannot be read") as caught:
        CheckpointFolder(tmp_path).resume()
    assert caught.value.remedy == "Move latest.pt, previous.pt, best.pt away; the run then begins anew."
    assert isinstance(caught.value, StudyError)
    assert trouble_of(caught.value) is caught.value


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "pickle of a function"])
def test_a_damaged_file_gives_one_clear_sentence(tmp_path: Path, damage):
    folder = CheckpointFolder(tmp_path)
    folder.save({"x": torch.randn(1000)})
    path = tmp_path / LATEST
    whole = path.read_bytes()
    if damage == "pickle of a function":
        torch.save({"x": print}, path)
    else:
        path.write_bytes(DAMAGE[damage](whole))
    for read in (folder.load, CheckpointFolder(tmp_path).resume):
        with pytest.raises(HyperdermError) as caught:
            read()
        assert str(path) in str(caught.value)
        assert "cannot be read" in caught.value.what
        assert caught.value.remedy == "Move it away; the run then begins anew."
        assert "\n" not in str(caught.value)
        assert len(caught.value.what) < 200 + len(str(path)) + 60


def test_sha256_is_that_of_the_file(tmp_path: Path):
    folder = CheckpointFolder(tmp_path)
    folder.save({"x": torch.tensor(1)})
    assert folder.sha256() == hashlib.sha256((tmp_path / LATEST).read_bytes()).hexdigest()
