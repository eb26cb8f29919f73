"""How facts of machines and nodes are judged, and how the judgement is printed."""

import json
from dataclasses import replace

import pytest
from rich.console import Console

from hyperderm.cluster.machine_facts import Disk, Gpu, Gpus, MachineFacts
from hyperderm.cluster.visit import Visit, clock_ahead
from hyperderm.reports.health import (
    CLUSTER,
    HERE,
    Finding,
    as_json,
    judge_clock,
    judge_disk,
    judge_gpus,
    judge_here,
    judge_shared_memory,
    judge_visit,
    print_health,
)

GIB = 2**30
PACKAGES = {"ray": "2.60.0", "torch": "2.15.0", "numpy": "2.4.6", "pyarrow": "25.0.1", "mlflow": "3.17.2", "optuna": "5.0.0"}
DRIVER = MachineFacts(
    host="driver", python="3.11.7", packages=PACKAGES, installed="0.1.0", code="c0de", cores=8, quota=None, ram=64 * GIB,
    free=50 * GIB, limited=False, shared_memory=32 * GIB, disks=(Disk(("TMPDIR", "RUNS"), "/tmp", 200 * 10**9),),
)  # fmt: skip
H200 = Gpu("NVIDIA H200", 139 * GIB, GIB)
GOOD_GPUS = Gpus(2, "570.1", (H200, H200), "12.8", 2)


def levels(findings: list[Finding]) -> dict[str, str]:
    """Return topic to level of what is not good."""
    return {each.topic: each.level for each in findings if each.level != "good"}


def of_node(**changes: object) -> list[Finding]:
    return judge_visit(Visit("n", False, facts=replace(DRIVER, **changes), clock_s=0.01), DRIVER, "c0de")


def test_a_sound_machine_and_a_node_like_it():
    assert not levels(judge_here(DRIVER, "0.1.0", "c0de"))
    assert not levels(of_node())
    assert all(not each.remedy for each in of_node())


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"python": "3.12.1"}, "bad", "Python 3.12.1, the driver's is 3.11.7"),
        ({"python": "3.11.2"}, "warning", "Python 3.11.2, the driver's is 3.11.7"),
        ({"packages": {**PACKAGES, "ray": "2.59.0"}}, "bad", "ray 2.59.0, the driver's is 2.60.0"),
        ({"packages": {**PACKAGES, "numpy": "2.3.0"}}, "warning", "numpy 2.3.0, the driver's is 2.4.6"),
        ({"packages": {**PACKAGES, "torch": None}}, "bad", "torch is not installed"),
        ({"packages": {**PACKAGES, "mlflow": None}}, "warning", "mlflow is not installed"),
    ],
)
def test_versions_that_differ(changes, level, said):
    (found,) = [each for each in of_node(**changes) if each.level != "good"]
    assert (found.level, found.topic, found.found) == (level, "versions", said)
    assert "requirements.lock" in found.remedy


def test_a_node_without_hyperderm_gets_the_drivers_code_and_another_version_is_told():
    found = [each for each in of_node(installed=None, code="") if each.topic == "hyperderm"]
    assert [(each.level, each.found) for each in found] == [
        ("good", "hyperderm is not installed: it gets the driver's code")
    ]
    (other,) = [each for each in of_node(installed="0.0.9", code="01d") if each.topic == "hyperderm"]
    assert other.level == "warning"
    assert other.found == "hyperderm 0.0.9 (code 01d) is installed; workers run the driver's code (c0de)"


@pytest.mark.parametrize(
    ("ahead", "level", "said"),
    [
        (4.9, "good", "clock +4.90 s"),
        (-5.1, "warning", "its clock is 5 s behind the driver's"),
        (61, "bad", "its clock is 61 s ahead of the driver's"),
        (-3600, "bad", "its clock is 3600 s behind the driver's"),
    ],
)
def test_clocks(ahead, level, said):
    found = judge_clock(ahead, "n")
    assert (found.level, found.found) == (level, said)
    assert bool(found.remedy) == (level != "good")


def test_the_quickest_round_trip_counts():
    here = iter([0.0, 8.0, 10.0, 10.2, 20.0, 21.0])  # 8 s, 0.2 s, 1 s
    there = iter([3.0, 130.1, 140.0])
    assert clock_ahead(lambda: next(there), lambda: next(here)) == pytest.approx(120.0)


@pytest.mark.parametrize(
    ("gpus", "level", "said"),
    [
        (Gpus(), "good", "no GPU"),
        (GOOD_GPUS, "good", "2 GPUs (NVIDIA H200 139.0 GiB), driver 570.1, torch for CUDA 12.8"),
        (replace(GOOD_GPUS, usable=1), "good", "1 of them visible to torch"),
        (Gpus(4, fault="No devices were found"), "bad", "4 GPUs, but no driver answers (No devices were found)"),
        (replace(GOOD_GPUS, built="", usable=0), "bad", "torch sees none (this torch was built without CUDA)"),
        (replace(GOOD_GPUS, usable=0, fault="too old"), "bad", "(torch for CUDA 12.8, driver 570.1; too old)"),
        (replace(GOOD_GPUS, fault="uncorrectable ECC error"), "bad", "uncorrectable ECC error"),
    ],
)
def test_gpus(gpus, level, said):
    found = judge_gpus(gpus, "n")
    assert found.level == level
    assert said in found.found
    assert bool(found.remedy) == (level != "good")


def test_memory_shared_memory_and_disks():
    assert levels(of_node(free=4 * GIB)) == {"memory": "warning"}
    for size, said in ((64 * 2**20, "/dev/shm holds 0.1 GiB"), (None, "there is no /dev/shm")):
        found = judge_shared_memory(size, 19 * GIB, "n")
        assert found.level == "warning"
        assert found.found.startswith(said)
        assert "--shm-size=20g" in found.remedy
    for free, level in ((5e9, "good"), (4.9e9, "warning"), (0.9e9, "bad")):
        assert judge_disk(Disk(("RUNS",), "/x", int(free)), "n").level == level


def test_a_node_that_does_not_answer_and_workers_that_starve():
    (found,) = judge_visit(Visit("10.0.0.2", False, started=False), DRIVER, "c0de")
    assert (found.level, found.found) == ("bad", "no worker started on 10.0.0.2 within 20 s")
    assert "raylet.err" in found.remedy
    (found,) = judge_visit(Visit("10.0.0.2", False, fault="no answer within 20 s"), DRIVER, "c0de")
    assert (found.level, found.found) == ("bad", "no answer within 20 s")
    assert levels(of_node(niceness=15)) == {"niceness": "warning"}


def test_gpus_that_ray_counts_otherwise():
    counted = lambda gpus, facts: levels(judge_visit(Visit("n", False, gpus=gpus, facts=facts), DRIVER, "c0de"))  # noqa: E731
    assert counted(2, DRIVER) == {"GPU": "bad"}
    assert counted(0, replace(DRIVER, gpus=GOOD_GPUS)) == {"GPU": "warning"}
    assert counted(2, replace(DRIVER, gpus=GOOD_GPUS)) == {}


FINDINGS = [
    Finding("good", HERE, "cores", "8 cores"),
    Finding("bad", HERE, "MLflow", "The server does not answer", "Start it."),
    Finding("good", CLUSTER, "Ray", "2 nodes"),
    Finding("good", "10.0.0.2", "cores", "8 cores"),
    Finding("warning", "10.0.0.2", "disk", "4.0 GB free", "Free some space."),
    Finding("good", "10.0.0.2", "clock", "clock +0.01 s"),
]


def test_what_is_good_about_a_node_stands_on_one_line(capsys):
    print_health(Console(), FINDINGS, 3.21)
    assert capsys.readouterr().out.splitlines() == [
        "good     cores          8 cores",
        "bad      MLflow         The server does not answer. Start it.",
        "good     Ray            2 nodes",
        "good     10.0.0.2       8 cores, clock +0.01 s",
        "warning  10.0.0.2 disk  4.0 GB free. Free some space.",
        "4 good, 1 warning, 1 bad, in 3.2 s",
    ]


def test_on_a_terminal_long_sentences_stay_in_their_column(capsys):
    long = Finding("bad", HERE, "MLflow", "[bold]The server[/] " + "does not answer " * 8, "Start it.")
    print_health(Console(force_terminal=True, width=60, no_color=True, emoji=False), [long], 1.0)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) < 90 for line in lines)
    assert "[bold]The server[/]" in lines[0]
    assert len(lines) > 3


def test_json_holds_every_finding():
    told = json.loads(as_json(FINDINGS, 3.21))
    assert (told["bad"], told["seconds"], len(told["findings"])) == (1, 3.2, 6)
    assert told["findings"][4] == {
        "level": "warning", "where": "10.0.0.2", "topic": "disk", "found": "4.0 GB free", "remedy": "Free some space.",
    }  # fmt: skip
