"""Judge the facts of machines and nodes as good, warning or bad, each with its remedy, and print them on one screen."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hyperderm.cluster.machine_facts import SHARED_MEMORY, Disk, Gpus, MachineFacts
from hyperderm.cluster.session import RAY_TAKES, STARVING, unstarted_worker
from hyperderm.cluster.visit import START_S, Visit
from hyperderm.errors import HyperdermError
from hyperderm.reports.store_description import say

Level = Literal["good", "warning", "bad"]
COLOURS: dict[Level, str] = {"good": "green", "warning": "yellow", "bad": "bold red"}

HERE, CLUSTER = "this machine", "cluster"
"""Where something was found, beside the addresses of nodes."""
SHOWN = ("ray", "torch", "numpy", "pyarrow", "mlflow", "optuna")
"""The packages whose versions are shown; all that hyperderm needs are compared."""
ON_NODES = ("ray", "torch", "numpy", "pyarrow")
"""The packages without which no worker runs."""
LITTLE_DISK, NO_DISK = 5e9, 1e9
"""Free bytes of a disk below which there is a warning, and below which nothing should be started."""
LITTLE_MEMORY = 0.1
"""Share of free memory below which there is a warning: Ray ends workers where 95 % are in use."""
LATE_S, TOO_LATE_S = 5.0, 60.0
"""Seconds by which clocks may differ before there is a warning, and before S3 signatures and MLflow's times go wrong."""
SAME = "Install the same on every node: `uv pip sync requirements.lock`."


@dataclass(frozen=True)
class Finding:
    """One fact with its judgement.

    Attributes:
        level: good, warning or bad.
        where: `HERE`, `CLUSTER` or the address of a node.
        topic: one word on what it is about.
        found: what was found.
        remedy: what to do; "" if it is good.
    """

    level: Level
    where: str
    topic: str
    found: str
    remedy: str = ""


def of_error(where: str, topic: str, error: HyperdermError, level: Level = "bad") -> Finding:
    """Return the finding for an error that a start would raise, in the same words."""
    return Finding(level, where, topic, error.what.rstrip("."), error.remedy)


def judge_here(facts: MachineFacts, version: str, code: str) -> list[Finding]:
    """Return the findings about this machine; `version` and `code` are those of the hyperderm that runs."""
    missing = [name for name, found in facts.packages.items() if found is None]
    versions = ", ".join(f"{name} {facts.packages[name]}" for name in SHOWN if facts.packages.get(name))
    first = Finding("good", HERE, "versions", f"hyperderm {version} (code {code}), Python {facts.python}, {versions}")
    if missing:
        first = Finding("bad", HERE, "versions", f"not installed: {', '.join(missing)}", "make setup")
    return [first, *_machine(facts, HERE, None)]


def judge_visit(visit: Visit, driver: MachineFacts, code: str) -> list[Finding]:
    """Return the findings about a node; `driver` and `code` are the facts and the code of the driver's machine."""
    node, facts = visit.node, visit.facts
    if not visit.started:
        what, remedy = unstarted_worker(node, START_S)
        return [Finding("bad", node, "worker", what, f"{remedy.capitalize()}.")]
    if facts is None:
        return [Finding("bad", node, "worker", visit.fault, "See the worker logs of that node, and `ray status`.")]
    found = [*_versions(facts, node, driver), *_installed(facts, node, driver, code), *_machine(facts, node, visit.store)]
    if visit.gpus != facts.gpus.usable:
        said = f"Ray counts {visit.gpus:g} GPU there, torch sees {facts.gpus.usable}"
        level: Level = "bad" if visit.gpus > facts.gpus.usable else "warning"
        found.append(Finding(level, node, "GPU", said, "Start the node again, with --num-gpus as many as torch sees."))
    if facts.niceness > 0:
        found.append(
            Finding(
                "warning",
                node,
                "niceness",
                f"workers at {facts.niceness}: {STARVING[0]}",
                f"{STARVING[1][0].upper()}{STARVING[1][1:]}, and not under `nice`.",
            )
        )
    if visit.clock_s is not None:
        found.append(judge_clock(visit.clock_s, node))
    return found


def judge_clock(ahead_s: float, node: str) -> Finding:
    """Return the finding about a clock that is `ahead_s` seconds ahead of the driver's."""
    off = abs(ahead_s)
    if off <= LATE_S:
        return Finding("good", node, "clock", f"clock {ahead_s:+.2f} s")
    level: Level = "bad" if off > TOO_LATE_S else "warning"
    said = f"its clock is {off:.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the driver's"
    return Finding(level, node, "clock", said, "Set both by NTP (chrony): S3 refuses a clock that is minutes wrong.")


def _versions(facts: MachineFacts, node: str, driver: MachineFacts) -> Iterator[Finding]:
    minor, here = (each.python.rpartition(".")[0] for each in (facts, driver))
    if facts.python != driver.python:
        level: Level = "warning" if minor == here else "bad"
        yield Finding(level, node, "versions", f"Python {facts.python}, the driver's is {driver.python}", SAME)
    for name, wanted in driver.packages.items():
        there = facts.packages.get(name)
        if there == wanted:
            continue
        said = f"{name} {there}, the driver's is {wanted}" if there else f"{name} is not installed"
        stops = name == "ray" or (there is None and name in ON_NODES)
        yield Finding("bad" if stops else "warning", node, "versions", said, SAME)


def _installed(facts: MachineFacts, node: str, driver: MachineFacts, code: str) -> Iterator[Finding]:
    if facts.installed is None:
        yield Finding("good", node, "hyperderm", "hyperderm is not installed: it gets the driver's code")
    elif facts.code != code:
        other = f"hyperderm {facts.installed} (code {facts.code}) is installed; workers run the driver's code ({code})"
        yield Finding("warning", node, "hyperderm", other, "Install the driver's there, or none, so that nobody is misled.")


def _machine(facts: MachineFacts, where: str, store: int | None) -> Iterator[Finding]:
    """Yield the findings about cores, memory, disks and GPUs of a machine whose object store takes `store` bytes."""
    yield judge_gpus(facts.gpus, where)
    few = facts.quota is not None and facts.quota < facts.cores
    count = f"{facts.cores} core{'s' * (facts.cores != 1)}"
    yield Finding("good", where, "cores", f"{count}, of which the container may use {facts.quota:g}" if few else count)
    limit = " (the container's limit)" if facts.limited else ""
    memory = f"{_gib(facts.free)} of {_gib(facts.ram)} memory free{limit}"
    if facts.free < LITTLE_MEMORY * facts.ram:
        yield Finding("warning", where, "memory", memory, "End other programs: Ray ends workers where 95 % are in use.")
    else:
        yield Finding("good", where, "memory", memory)
    yield judge_shared_memory(facts.shared_memory, store if store is not None else int(RAY_TAKES * facts.ram), where)
    yield from (judge_disk(disk, where) for disk in facts.disks)


def judge_shared_memory(size: int | None, wanted: int, where: str) -> Finding:
    """Return the finding about /dev/shm, where Ray's object store wants `wanted` bytes."""
    if size is not None and size >= wanted:
        return Finding("good", where, "shared", f"{SHARED_MEMORY} {_gib(size)}")
    said = f"{SHARED_MEMORY} holds {_gib(size)}" if size is not None else f"there is no {SHARED_MEMORY}"
    return Finding(
        "warning",
        where,
        "shared",
        f"{said}, Ray's object store wants {_gib(wanted)}: it will lie on the disk, which is slow",
        f"Enlarge it: --shm-size={max(1, round(wanted / 2**30 + 0.5))}g (docker, podman), an emptyDir of medium Memory "
        "(Kubernetes), or mount -o remount,size=… /dev/shm.",
    )


def judge_disk(disk: Disk, where: str) -> Finding:
    """Return the finding about the free space of a disk."""
    said = f"{disk.free / 1e9:.1f} GB free for {', '.join(disk.holds)}"
    if disk.free >= LITTLE_DISK:
        return Finding("good", where, "disk", said)
    level: Level = "bad" if disk.free < NO_DISK else "warning"
    return Finding(level, where, "disk", f"{said} ({disk.path})", "Free some space, or name another place (RUNS, TMPDIR).")


def judge_gpus(gpus: Gpus, where: str) -> Finding:
    """Return the finding about the GPUs of a machine."""
    if not (gpus.devices or gpus.found or gpus.usable):
        return Finding("good", where, "GPU", "no GPU")
    said = f"{gpus.devices or len(gpus.found)} GPU{'s' * ((gpus.devices or len(gpus.found)) > 1)}"
    if not gpus.found and not gpus.usable:
        return Finding(
            "bad",
            where,
            "GPU",
            f"{said}, but no driver answers ({gpus.fault or 'no reason given'})",
            "`nvidia-smi` must list them: install or load the driver, or start the container with --gpus all.",
        )
    if not gpus.usable:
        why = f"torch for CUDA {gpus.built}, driver {gpus.driver}" if gpus.built else "this torch was built without CUDA"
        more = f"; {gpus.fault}" if gpus.fault else ""
        remedy = "Update the driver, or unset CUDA_VISIBLE_DEVICES." if gpus.built else "Install a build of torch with CUDA."
        return Finding("bad", where, "GPU", f"{said}, but torch sees none ({why}{more})", remedy)
    names = sorted({f"{gpu.name} {_gib(gpu.memory)}" for gpu in gpus.found})
    shown = f"{said} ({', '.join(names) or 'names unknown'}), driver {gpus.driver or 'unknown'}, torch for CUDA {gpus.built}"
    if gpus.fault and gpus.found:
        return Finding("bad", where, "GPU", f"{shown}: {gpus.fault}", "Look at `nvidia-smi` and the kernel's log (dmesg).")
    if gpus.usable < len(gpus.found):
        shown += f"; {gpus.usable} of them visible to torch"
    return Finding("good", where, "GPU", shown)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def print_health(console: Console, findings: Sequence[Finding], seconds: float) -> None:
    """Print the findings: what is good about a node on one line, everything else with its remedy on lines of its own.

    In a file or pipe each finding is one line, however long.
    """
    rows = [
        (each.level, _topic(each), f"{each.found}. {each.remedy}" if each.remedy else each.found) for each in _rows(findings)
    ]
    if console.is_terminal:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for level, topic, said in rows:
            table.add_row(Text(level, COLOURS[level]), Text(topic), Text(said))
        console.print(table)
    else:
        widest = max((len(topic) for _, topic, _ in rows), default=0)
        say(console, *(f"{level:<7}  {topic:<{widest}}  {said}" for level, topic, said in rows))
    counts = [f"{sum(each.level == level for each in findings)} {level}" for level in COLOURS]
    say(console, f"{', '.join(counts)}, in {seconds:.1f} s")


def _rows(findings: Sequence[Finding]) -> Iterator[Finding]:
    for place in dict.fromkeys(each.where for each in findings):
        mine = [each for each in findings if each.where == place]
        yield from mine if place in (HERE, CLUSTER) else _together(place, mine)


def _topic(finding: Finding) -> str:
    return finding.topic if finding.where in (HERE, CLUSTER) else f"{finding.where} {finding.topic}".rstrip()


def _together(node: str, findings: Sequence[Finding]) -> list[Finding]:
    """Return one finding for all that is good about a node, and the others as they are."""
    good = ", ".join(each.found for each in findings if each.level == "good")
    others = [each for each in findings if each.level != "good"]
    return [*([Finding("good", node, "", good)] if good else []), *others]


def as_json(findings: Sequence[Finding], seconds: float) -> str:
    """Return the findings as one JSON object: `findings` (level, where, topic, found, remedy), `bad`, `seconds`."""
    bad = sum(each.level == "bad" for each in findings)
    return json.dumps({"findings": [asdict(each) for each in findings], "bad": bad, "seconds": round(seconds, 1)}, indent=1)
