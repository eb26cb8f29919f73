"""The short runs of the golden record give the numbers that they gave before."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.golden.record import differences, machine, short

RECORDS = [json.loads(file.read_text("utf-8")) for file in sorted(Path(__file__).parent.glob("numbers*.json"))]
"""One record for each kind of processor on which the runs were recorded."""
CLOSE = 0.02
"""Between kinds of processors, whose sums are rounded otherwise, after a dozen steps."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def close(was: float, now: float) -> bool:
    return math.isclose(was, now, rel_tol=CLOSE, abs_tol=CLOSE)


def nearest(here: str) -> dict[str, Any]:
    """The record of this machine, else of its instruction set, else the first."""

    def distance(record: dict[str, Any]) -> int:
        return (record["machine"] != here) + (record["machine"].split(", ")[1] != here.split(", ")[1])

    return min(RECORDS, key=distance)


def test_fixed_seeds_give_what_they_gave(tmp_path):
    found = json.loads(json.dumps(short(tmp_path)))
    known = nearest(machine())
    if machine() == known["machine"]:
        assert differences(known["short"], found) == []
    else:
        changed = differences(known["short"], found, same=close)
        hashes = [f"/{name}/weights" for name in known["short"]]
        assert [each for each in changed if not each.startswith(("/generated/cubes", *hashes))] == []


def test_the_record_of_the_same_kind_of_processor_is_taken():
    assert [nearest(each["machine"]) for each in RECORDS] == RECORDS
    for record in RECORDS:
        processor, instructions, torch_version = record["machine"].split(", ")
        assert nearest(f"another {processor}, {instructions}, {torch_version}") == record
