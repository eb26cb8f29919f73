"""Times of day on this machine's clock."""

import time
from datetime import datetime, timedelta

import pytest

from hyperderm.errors import ConfigError
from hyperderm.workflows import grid_request
from hyperderm.workflows.workspace import next_time


@pytest.fixture
def berlin(monkeypatch):
    """A clock that changes on 29 March and 25 October 2026, at 02:00 and 03:00."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(*when: int) -> datetime:
    return datetime(2026, *when).astimezone()


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("22:00", (6, 1, 20, 30), (6, 1, 22, 0)),
        ("07:00", (6, 1, 20, 30), (6, 2, 7, 0)),
        ("7:00", (6, 1, 20, 30), (6, 2, 7, 0)),
        ("20:30", (6, 1, 20, 30), (6, 2, 20, 30)),  # strictly after
        ("20:30", (6, 1, 20, 29, 59), (6, 1, 20, 30)),
        ("20:30", (6, 1, 20, 30, 0, 1), (6, 2, 20, 30)),
        ("00:00", (6, 1, 23, 59), (6, 2, 0, 0)),
        ("00:00", (6, 1, 0, 0), (6, 2, 0, 0)),
        ("23:59", (6, 1, 0, 0), (6, 1, 23, 59)),
        ("07:00", (12, 31, 22, 0), None),
        ("07:00", (2, 28, 22, 0), (3, 1, 7, 0)),
    ],
)
def test_the_next_time_the_clock_shows_it(berlin, text, after, expected):
    found = next_time("--at", text, at(*after))
    assert found == (at(*expected) if expected else datetime(2027, 1, 1, 7).astimezone())
    assert (found.second, found.microsecond) == (0, 0)


@pytest.mark.parametrize(("day", "hours"), [((3, 28), 8), ((10, 24), 10), ((6, 1), 9)])
def test_nights_in_which_the_clocks_change(berlin, day, hours):
    """From 22:00 to 07:00 it is eight hours in March and ten in October."""
    begin = next_time("--at", "22:00", at(*day, 12, 0))
    end = next_time("--until", "07:00", begin)
    assert (f"{begin:%H:%M}", f"{end:%H:%M}") == ("22:00", "07:00")
    assert end - begin == timedelta(hours=hours)
    assert end.timestamp() - begin.timestamp() == hours * 3600


@pytest.mark.parametrize(
    "text", ["25:00", "24:00", "22:60", "22", "22:5", "10 pm", "", "-1:00", "22:00:00", " 22:00", "2200"]
)
def test_what_is_no_time_of_day(text):
    with pytest.raises(ConfigError) as caught:
        next_time("--until", text, datetime.now().astimezone())
    assert caught.value.what == f"--until {text!r} is no time of day"
    assert caught.value.remedy == "Write --until 22:00."


def test_a_whole_date_is_what_was_meant_however_late_it_is_read():
    meant = at(6, 1, 22, 0)
    assert next_time("--at", meant.isoformat(), at(6, 1, 22, 5)) == meant
    with pytest.raises(ConfigError, match="--at '2026-13-01T00:00' is no time"):
        next_time("--at", "2026-13-01T00:00", meant)


def test_a_request_knows_the_command_that_asks_for_it_again():
    asked = grid_request(profile="small", overrides=["folds=[0]", "seeds=[0]"], name="night", end=at(6, 1, 22, 0))
    expected = ["--name", "night", "--profile", "small", "--set", "folds=[0]", "--set", "seeds=[0]"]
    assert asked.words == ("ablation", "synthetic_vs_real", *expected)
