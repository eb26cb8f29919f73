"""What the end of a command waits for: a server that is away, and one that comes back meanwhile."""

from types import SimpleNamespace
from typing import Any

import pytest

from hyperderm.tracking.delivery import DELIVERING
from hyperderm.workflows.run_tracking import finish_tracking


class Owing:
    """A tracker that owes entries: each `flush` returns what is owed then, and the server's state after it."""

    def __init__(self, *turns: tuple[int, str]) -> None:
        self.turns, self.state, self.closed = list(turns), DELIVERING, False

    def flush(self, seconds: float) -> int:
        owed, self.state = self.turns.pop(0)
        return owed

    def ui_address(self, key: str) -> str:
        return f"http://here/{key}"

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([(0, DELIVERING)], "see http://here/k"),
        ([(9, "server away"), (7, DELIVERING), (3, DELIVERING), (0, DELIVERING)], "see http://here/k"),
        (
            [(9, "server away"), (9, "server away")],
            "tracking: 9 entries wait for http://here; the same command delivers them",
        ),
    ],
)
def test_a_server_that_came_back_gets_everything(turns: list[tuple[int, str]], said: str) -> None:
    tracker, told = Owing(*turns), list[str]()
    workspace: Any = SimpleNamespace(say=told.append, tracking_uri="http://here")
    finish_tracking(workspace, tracker, "k")  # type: ignore[arg-type]
    assert told == [said]
    assert tracker.closed
    assert not tracker.turns
