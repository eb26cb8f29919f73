import hashlib
from pathlib import Path

import pytest
import torch

from hyperderm.errors import HyperdermError
from hyperderm.training.checkpoint import BEST, LATEST, CheckpointFolder


def value(folder: CheckpointFolder, name: str = LATEST) -> int:
    return folder.load(name)["x"].item()


def test_comes_back_as_it_was(tmp_path: Path):
    state = {"w": torch.randn(3, dtype=torch.float64), "n": 3, "s": "text", "list": [1.5, float("inf")], "none": None}
    folder = CheckpointFolder(tmp_path / "not" / "there")
    assert folder.load() is None
    folder.save(state)
    again = folder.load()
    assert torch.equal(again.pop("w"), state.pop("w"))
    assert again == state


def test_best_stays_while_latest_goes_on(tmp_path: Path):
    folder = CheckpointFolder(tmp_path)
    for x, best in ((1, True), (2, True), (3, False), (4, False)):
        folder.save({"x": torch.tensor(x)}, best=best)
    assert (value(folder), value(folder, BEST)) == (4, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [BEST, LATEST]


def test_best_is_kept_where_the_disk_has_no_hard_links(tmp_path: Path, monkeypatch):
    def refuse(*_):
        raise OSError("not supported")

    monkeypatch.setattr("os.link", refuse)
    folder = CheckpointFolder(tmp_path)
    folder.save({"x": torch.tensor(1)}, best=True)
    folder.save({"x": torch.tensor(2)})
    assert (value(folder), value(folder, BEST)) == (2, 1)


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    folder.save({"x": torch.tensor(1)}, best=True)
    before = (tmp_path / LATEST).read_bytes()

    def fail(state, path):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space"):
        folder.save({"x": torch.tensor(2)}, best=True)
    assert (tmp_path / LATEST).read_bytes() == (tmp_path / BEST).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [BEST, LATEST]


def test_a_kill_between_best_and_latest_promises_nothing_that_is_not_there(tmp_path: Path, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    folder.save({"x": torch.tensor(1)}, best=True)
    replace = Path.replace

    def die(self, target):
        if Path(target).name == LATEST:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        folder.save({"x": torch.tensor(2)}, best=True)
    assert (value(folder), value(folder, BEST)) == (1, 2)  # the resumed run makes 2 again


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "pickle of a function"])
def test_a_damaged_file_gives_one_clear_sentence(tmp_path: Path, damage):
    folder = CheckpointFolder(tmp_path)
    folder.save({"x": torch.randn(1000)})
    path = tmp_path / LATEST
    whole = path.read_bytes()
    if damage == "pickle of a function":
        torch.save({"x": print}, path)
    else:
        path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"not a checkpoint"}[damage])
    with pytest.raises(HyperdermError) as caught:
        folder.load()
    assert str(path) in str(caught.value)
    assert "cannot be read" in caught.value.what
    assert caught.value.remedy == "Move it away; the run then begins anew."
    assert "\n" not in str(caught.value)
    assert len(caught.value.what) < 200 + len(str(path)) + 60


def test_sha256_is_that_of_the_file(tmp_path: Path):
    folder = CheckpointFolder(tmp_path)
    folder.save({"x": torch.tensor(1)})
    assert folder.sha256() == hashlib.sha256((tmp_path / LATEST).read_bytes()).hexdigest()
