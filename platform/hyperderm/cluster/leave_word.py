"""Give processes on any node of the cluster the word to leave (`training.preemption`): their trials save their state.

A driver that ends gives it to its trials, and a trial of several workers to its workers.
"""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Process = tuple[str, int]
"""The address of a node as Ray knows it, and the number of a process on that machine."""


@ray.remote(num_cpus=0, max_retries=0)
def _signal(numbers: list[int]) -> None:
    for number in numbers:
        with suppress(ProcessLookupError, PermissionError):  # it has ended meanwhile
            os.kill(number, signal.SIGTERM)


def this_process() -> Process:
    """Return this process, a worker of Ray."""
    return ray.util.get_node_ip_address(), os.getpid()


def tell_to_leave(processes: Iterable[Process]) -> None:
    """Send SIGTERM to processes, each from its own node; a node that is gone is left out. Do not wait for the effect."""
    wanted: dict[str, list[int]] = {}
    for address, number in processes:
        wanted.setdefault(address, []).append(number)
    nodes = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]} if wanted else {}
    for address, numbers in wanted.items():
        if address in nodes:
            there = NodeAffinitySchedulingStrategy(nodes[address], soft=False)
            _signal.options(scheduling_strategy=there).remote(numbers)
