"""Names, identities and locks of a run's folder."""

import json
import subprocess
import sys

import pytest

from hyperderm.errors import ClusterError, StudyError
from hyperderm.training.run_folder import IDENTITY, claim, run_folder


def refuse(folder, mine):
    with claim(folder, mine):
        raise ClusterError("too small", "Use less.")


def test_a_refused_name_stays_free_and_a_begun_one_stays(tmp_path):
    with pytest.raises(ClusterError):
        refuse(tmp_path / "new", {"a": 1})
    assert not (tmp_path / "new").exists()
    with claim(tmp_path / "kept", {"a": 1}) as key:
        pass
    with pytest.raises(ClusterError):
        refuse(tmp_path / "kept", {"a": 1})
    assert json.loads((tmp_path / "kept" / IDENTITY).read_text())["key"] == key


def test_a_folder_of_the_users_is_never_touched(tmp_path):
    (tmp_path / "cubes").mkdir()
    (tmp_path / "cubes" / "1.mat").write_bytes(b"precious")
    with pytest.raises(StudyError, match="holds files that are no run"):
        refuse(tmp_path / "cubes", {"a": 1})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClusterError):
        refuse(tmp_path / "empty", {"a": 1})
    assert (tmp_path / "cubes" / "1.mat").read_bytes() == b"precious"
    assert (tmp_path / "empty").is_dir()


@pytest.mark.parametrize("name", ["", "..", ".", "a b", "-x", "a/b", "a\nb"])
def test_names_that_are_no_names(tmp_path, name):
    with pytest.raises(StudyError, match="--name"):
        run_folder(tmp_path, name, "default")


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    with claim(tmp_path / "s", {"a": 1, "b": 2}) as first, pytest.raises(StudyError, match="is being run by process"):
        refuse_in_child(tmp_path / "s")
    with (
        pytest.raises(StudyError, match=r"a: 1 -> 3; c: \(absent\) -> 4.*--name"),
        claim(tmp_path / "s", {"a": 3, "b": 2, "c": 4}),
    ):
        pass
    with claim(tmp_path / "s", {"a": 1, "b": 2}) as again:
        assert again == first


def refuse_in_child(folder):
    """A lock is a process's own: another process must be refused."""
    code = "import sys, pathlib\nfrom hyperderm.training.run_folder import claim"
    code += "\nwith claim(pathlib.Path(sys.argv[1]), {}): pass"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60)
    raise StudyError(done.stderr.strip().splitlines()[-1])
