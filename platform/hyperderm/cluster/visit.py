"""Visit every node of the connected cluster: its facts, its clock, and what it answers to questions of the caller."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hyperderm.cluster.machine_facts import MachineFacts, look
from hyperderm.errors import HyperdermError, UnexpectedError
from hyperderm.trouble import said_by

START_S = 20.0
"""Seconds in which the worker of a visited node must have started."""
ANSWER_S = 20.0
"""Seconds in which a started worker must have answered everything."""
ROUNDS = 3
"""Number of times that a clock is read; the quickest answer counts."""
LOST = 2
"""Ray's number for the reason of a node's death that nobody asked for."""


@dataclass(frozen=True)
class Visit:
    """What was found on one node.

    Attributes:
        node: address of the node; with the beginning of its id if several nodes have the same address.
        here: whether the driver is on this node.
        started: whether a worker started there in time.
        store: bytes of Ray's object store there; None if unknown.
        gpus: number of GPUs that Ray counts there.
        facts: facts of the machine; None if it did not answer.
        clock_s: seconds by which its clock is ahead of the driver's; None if it did not answer.
        answers: name of a question to the error that it met there, or to None if it met no error.
        fault: why the node did not answer although its worker started; "" if it did.
    """

    node: str
    here: bool
    started: bool = True
    store: int | None = None
    gpus: float = 0.0
    facts: MachineFacts | None = None
    clock_s: float | None = None
    answers: Mapping[str, HyperdermError | None] = field(default_factory=dict)
    fault: str = ""


class Visitor:
    """Runs in a worker of a node and answers questions there, several at a time."""

    def ready(self) -> None:
        """Return when the worker has started."""

    def clock(self) -> float:
        """Return the time of this machine, in seconds since 1970."""
        return time.time()

    def facts(self, packages: Sequence[str], places: Mapping[str, Path]) -> MachineFacts:
        """Return the facts of this machine."""
        return look(packages, places, elsewhere=True)

    def ask(self, question: Callable[[], None]) -> HyperdermError | None:
        """Return the error that the question met here; None if it met no error."""
        try:
            question()
        except HyperdermError as error:
            return error
        except Exception as error:
            return UnexpectedError(said_by(error))
        return None


def visit(packages: Sequence[str], places: Mapping[str, Path], questions: Mapping[str, Callable[[], None]]) -> list[Visit]:
    """Visit all nodes at the same time, and return what was found, the driver's node first.

    A node that does not answer costs at most `START_S` + `ANSWER_S`.

    Args:
        packages: names of distributions whose versions are wanted.
        places: name to folder of what is written to on a node.
        questions: name to a function that is sent to each node and that raises an error if something is wrong there.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    made: Any = ray.remote(Visitor)
    settings = {"num_cpus": 0, "max_concurrency": 2 + len(questions)}
    here = ray.get_runtime_context().get_node_id()
    nodes = _named([node for node in ray.nodes() if node["Alive"]])
    actors = {
        name: made.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False), **settings
        ).remote()
        for name, node in nodes.items()
    }
    try:
        calls = {name: actor.ready.remote() for name, actor in actors.items()}
        up, _ = ray.wait(list(calls.values()), num_returns=len(calls), timeout=START_S)
        started = {name: actor for name, actor in actors.items() if calls[name] in up}
        asked = {
            name: [
                actor.facts.remote(list(packages), dict(places)),
                *(actor.ask.remote(question) for question in questions.values()),
            ]
            for name, actor in started.items()
        }
        everything = [call for each in asked.values() for call in each]
        done, _ = ray.wait(everything, num_returns=len(everything), timeout=ANSWER_S) if everything else ([], [])
        found = []
        for name, node in nodes.items():
            held = node["Resources"]
            size = held.get("object_store_memory")
            begun = Visit(
                name, node["NodeID"] == here, name in started, None if size is None else int(size), held.get("GPU", 0.0)
            )
            if begun.started:
                begun = _heard(begun, actors[name], asked[name], set(done), list(questions))
            found.append(begun)
        return sorted(found, key=lambda each: (not each.here, each.node))
    finally:
        for actor in actors.values():
            ray.kill(actor)


def _heard(
    begun: Visit,
    actor: Any,  # noqa: ANN401 - Ray's handles have no common type
    calls: Sequence[Any],
    done: set[Any],
    questions: Sequence[str],
) -> Visit:
    """Return what a node answered to `calls`: its facts first, then the answers to `questions`."""
    import ray

    if not all(call in done for call in calls):
        return replace(begun, fault=f"no answer within {ANSWER_S:.0f} s")
    try:
        facts, *answers = ray.get(list(calls))
        ahead = clock_ahead(lambda: ray.get(actor.clock.remote(), timeout=ANSWER_S))
    except Exception as error:  # of Ray, or of code that the worker of another Python cannot read
        return replace(begun, fault=said_by(error))
    return replace(begun, facts=facts, clock_s=ahead, answers=dict(zip(questions, answers, strict=True)))


def clock_ahead(there: Callable[[], float], now: Callable[[], float] = time.time) -> float:
    """Return the seconds by which another clock is ahead of this one, from the middle of the quickest of a few round trips.

    Args:
        there: asks the other clock, in seconds since 1970.
        now: asks this clock.
    """
    trips = []
    for _ in range(ROUNDS):
        began = now()
        other = there()
        ended = now()
        trips.append((ended - began, other - (began + ended) / 2))
    return min(trips)[1]


def lost_nodes() -> dict[str, str]:
    """Return the address of every node that died although nobody asked for it, with Ray's reason."""
    import ray

    return {
        node["NodeManagerAddress"]: node.get("DeathReasonMessage") or "no reason given"
        for node in ray.nodes()
        if not node["Alive"] and node.get("DeathReason") == LOST
    }


def _named(nodes: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the nodes by address, and by address and id where several have the same address."""
    addresses = [node["NodeManagerAddress"] for node in nodes]
    return {
        address if addresses.count(address) == 1 else f"{address} ({node['NodeID'][:6]})": node
        for address, node in zip(addresses, nodes, strict=True)
    }
