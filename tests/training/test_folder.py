"""Names, identities and locks of a sweep's folder; capacity; what a search remembers of a killed driver. No Ray."""

import json
import subprocess
import sys

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from hyperderm import registry
from hyperderm.cluster.session import Cluster, check_shared, trials_at_once
from hyperderm.errors import ClusterError, ConfigError, StudyError
from hyperderm.training.run_folder import IDENTITY, claim, run_folder
from tests.cluster.sweeps import Memory, ask, search, tiny


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


def test_capacity_counts_nodes_not_sums():
    two = Cluster(((4.0, 1.0), (4.0, 1.0)), "")
    assert trials_at_once(two, 1, 1.0, 0.0, None) == 8
    assert trials_at_once(two, 1, 1.0, 0.5, None) == 4
    assert trials_at_once(two, 2, 4.0, 1.0, None) == 1
    assert trials_at_once(two, 1, 1.0, 0.0, 3) == 3
    with pytest.raises(ClusterError, match=r"8 CPU and 2 GPU on 2 nodes"):
        trials_at_once(two, 1, 8.0, 0.0, None)


def test_one_node_needs_no_shared_folder(tmp_path):
    check_shared(tmp_path / "nowhere", Cluster(((2.0, 0.0),), ""))


def test_fixed_axes_leave_the_space():
    space = registry.Space("s", 1, {"a.x": FloatDistribution(0, 1), "a.y": FloatDistribution(0, 1)})
    left, fixed = space.without(["a.x", "b.z"])
    assert (list(left.distributions), fixed) == (["a.y"], ["a.x"])
    with pytest.raises(ConfigError, match="fixes every axis"):
        space.without(["a.x", "a.y"])


def test_a_trial_stopped_early_stays_stopped_when_the_driver_dies_before_its_end(tmp_path):
    experiment = tiny(sweep__grace_images=32, sweep__reduction=2, training__images=128)
    first = search(tmp_path, experiment, Memory())
    good = ask(first).number
    first.report(good, 32, {"spectral_energy_distance": 1.0})
    first.finish(good)
    bad = ask(first).number
    assert first.report(bad, 32, {"spectral_energy_distance": 9.0})
    memory = Memory()
    second = search(tmp_path, experiment, memory)  # the first driver is gone
    assert ask(second).number == bad
    assert memory.events == [("started", bad, True)]
    assert second.report(bad, 32, {"spectral_energy_distance": 9.0})
    second.finish(bad)
    assert second.study.trials[bad].state == TrialState.PRUNED


def test_a_trial_killed_while_it_was_drawn_gets_every_axis(tmp_path):
    first = search(tmp_path, tiny(), Memory())
    first.finish(ask(first).number, "an earlier one")
    half = first.study.ask()  # a driver killed between two axes
    name, axis = next(iter(first.distributions.items()))
    drawn = half._suggest(name, axis)
    values = ask(search(tmp_path, tiny(), Memory())).values
    assert set(values) == set(first.distributions)
    assert values[name] == drawn
