"""Read runs back from MLflow, by id, prefix of an id, key or name; a parent run stands for its children."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hyperderm.errors import ConfigError, TrackingError, nearest
from hyperderm.metric_groups import is_result, ungrouped
from hyperderm.strict import json_of
from hyperderm.tags import KEY_TAG
from hyperderm.tracking.database import sqlite_path
from hyperderm.tracking.requests import PARENT_TAG, first_line
from hyperderm.tracking.server import START_ONE, check_server, quiet_client, redacted
from hyperderm.training.run_folder import CONFIG

if TYPE_CHECKING:
    from mlflow.entities import Run

PREFIX = 6
"""The number of characters of a run id that are enough if no other run id begins with them."""
SHOWN = 10
"""The largest number of candidates that an error message lists."""
PAGE = 1000
"""The number of runs that one request asks for."""
CELL_PARAMS = {"fold": "data.fold", "cell": None}
"""Params of a grid's cells, to their path in the configuration; None marks a param that only names the run."""
QUESTIONS = 8
"""The number of parallel requests; each takes tens of milliseconds, and a run needs several."""


@dataclass(frozen=True)
class TrackedRun:
    """One run as MLflow stores it.

    Attributes:
        id: MLflow's run id.
        name: the name in the UI with the name of its parent before it: `sweep/trial 003`.
        status: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED.
        settings: dotted configuration path to value, from the artifact config.json and the params.
        whole: False if config.json is missing; `settings` may then hold the swept values alone.
        tags: all tags of the run.
        metrics: name without its group (`metric_groups`) to (value, step) at the last logged step; not what workers used.
    """

    id: str
    name: str
    status: str
    settings: Mapping[str, object]
    whole: bool
    tags: Mapping[str, str]
    metrics: Mapping[str, tuple[float, int]]


def fetch(uri: str, wanted: Sequence[str]) -> list[list[TrackedRun]]:
    """Return, for each text in `wanted`, the runs that it stands for, in the order of their start.

    Args:
        uri: `http(s)://…` or `sqlite:///…`.
        wanted: run ids, unique prefixes of them (at least 6 characters), values of the tag hyperderm.key, or run names. A
            run with children stands for its children, and for their children in turn (grid, arm, cell).

    Raises:
        ConfigError: there is no such run (the nearest names are given), or there are several (they are listed).
        TrackingError: the server does not answer, or the database does not exist.
    """
    check_there(uri)
    with asking(uri), ThreadPoolExecutor(QUESTIONS) as pool:
        return _Library(uri, pool).stood_for(wanted)


def check_there(uri: str) -> None:
    """Raise unless the server answers or the database exists.

    Raises:
        TrackingError: the message names the address and the remedy.
    """
    if (path := sqlite_path(uri)) and not path.exists():
        raise TrackingError(  # check_server would make one
            f"{path} does not exist: nothing is tracked here",
            "Start a run (`hyperderm train`), or name the server with MLFLOW_TRACKING_URI",
        )
    check_server(uri, write=False)


@contextmanager
def asking(uri: str) -> Iterator[None]:
    """Turn any error of MLflow into a TrackingError that names the address without its password."""
    quiet_client()
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:  # OSError: what requests raises for artifacts
        reason = first_line(error).replace(uri, redacted(uri))
        raise TrackingError(f"MLflow at {redacted(uri)} does not give the runs ({reason})", START_ONE) from error


class _Library:
    """The active runs of every experiment."""

    def __init__(self, uri: str, pool: Executor) -> None:
        from mlflow import MlflowClient

        self._uri, self._pool = uri, pool
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]

    def stood_for(self, wanted: Sequence[str]) -> list[list[TrackedRun]]:
        """Return, for each text, the run of that name, or the childless runs below it."""
        roots = list(self._pool.map(self._find, wanted))
        leaves = [self._leaves([(root, path)]) for root, path in zip(roots, self._pool.map(self._path, roots), strict=True)]
        each = {run.info.run_id: (run, path) for found in leaves for run, path in found}
        tracked = dict(zip(each, self._pool.map(self._tracked, each.values()), strict=True))
        return [[tracked[run.info.run_id] for run, _ in found] for found in leaves]

    def _find(self, text: str) -> "Run":
        for condition, fits in _questions(text):
            found = [run for run in self._search(condition) if fits(run)]
            if len(found) > 1:
                raise ConfigError(f"run {text!r} could be any of {len(found)} runs: {self._listed(found)}", "Give a run id.")
            if found:
                return found[0]
        raise self._unknown(text)

    def _search(self, condition: str, experiments: Sequence[str] | None = None) -> "Iterator[Run]":
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs(
                list(experiments or self._experiments),
                condition,
                max_results=PAGE,
                page_token=token or None,
            )
            yield from page
            token = page.token or None

    def _leaves(self, level: "Sequence[tuple[Run, str]]") -> "list[tuple[Run, str]]":
        """Return runs without children at or below `level`, with their paths."""
        found: list[tuple[Run, str]] = []
        for (run, path), children in zip(level, self._pool.map(self._children, level), strict=True):
            found += self._leaves(children) if children else [(run, path)]
        return found

    def _children(self, place: "tuple[Run, str]") -> "list[tuple[Run, str]]":
        run, path = place
        found = self._search(f'tags.`{PARENT_TAG}` = "{run.info.run_id}"', [run.info.experiment_id])
        children = sorted(found, key=lambda child: (child.info.start_time, child.info.run_name))
        return [(child, f"{path}/{child.info.run_name}") for child in children]

    def _path(self, run: "Run") -> str:
        """Return the name of the run with the names of its parents before it."""
        parent = run.data.tags.get(PARENT_TAG)
        found = list(self._search(f"attributes.run_id = '{parent}'")) if parent else []
        return f"{self._path(found[0])}/{run.info.run_name}" if found else str(run.info.run_name)

    def _tracked(self, place: "tuple[Run, str]") -> TrackedRun:
        run, path = place
        config = self._config(run.info.run_id)
        params = {CELL_PARAMS.get(name, name): parsed(text) for name, text in run.data.params.items()}
        return TrackedRun(
            run.info.run_id,
            path,
            run.info.status,
            {**{name: value for name, value in params.items() if name is not None}, **(config or {})},
            config is not None,
            run.data.tags,
            {
                ungrouped(metric.key): (metric.value, metric.step)
                for metric in run.data.to_proto().metrics
                if is_result(metric.key)
            },
        )

    def _config(self, run_id: str) -> dict[str, object] | None:
        if CONFIG not in {file.path for file in self._client.list_artifacts(run_id)}:
            return None
        with TemporaryDirectory() as folder:
            text = Path(self._client.download_artifacts(run_id, CONFIG, folder)).read_text(encoding="utf-8")
        try:
            return dict(leaves("", json_of(text)))
        except ValueError:
            return None

    def _listed(self, runs: "Sequence[Run]") -> str:
        texts = [
            f"{run.info.run_id} ({self._path(run)}, {run.info.status.lower()}, "
            f"{datetime.fromtimestamp(run.info.start_time / 1000, UTC):%Y-%m-%d %H:%M})"
            for run in runs[:SHOWN]
        ]
        return ", ".join(texts) + (f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else "")

    def _unknown(self, text: str) -> ConfigError:
        if re.fullmatch(rf"[0-9a-f]{{1,{PREFIX - 1}}}", text):
            return ConfigError(f"no run is called {text!r}", f"A prefix of a run id needs at least {PREFIX} characters.")
        runs = list(self._search(""))  # the latest first
        if not runs:
            return ConfigError(f"no run is called {text!r}: none is tracked at {redacted(self._uri)}", "Start a run first.")
        names = dict.fromkeys(str(run.info.run_name) for run in runs)
        keys = dict.fromkeys(run.data.tags[KEY_TAG] for run in runs if KEY_TAG in run.data.tags)
        known = [*names, *keys, *(run.info.run_id for run in runs)]
        close = difflib.get_close_matches(text, known, cutoff=0.5)
        return ConfigError(f"no run is called {text!r}", nearest(text, close or list(names)[:SHOWN]))


def _questions(text: str) -> "Iterator[tuple[str, Callable[[Run], bool]]]":
    """Yield search conditions, the most specific first, each with the same test in Python, as MySQL ignores case."""
    if re.fullmatch(r"[0-9a-f]{32}", text):
        yield f"attributes.run_id = '{text}'", lambda run: run.info.run_id == text
    if re.fullmatch(r"[^\"`\x00-\x1f]{1,500}", text):  # as runs.Tracker allows for keys
        yield f'tags.`{KEY_TAG}` = "{text}"', lambda run: run.data.tags.get(KEY_TAG) == text
        yield f'attributes.run_name = "{text}"', lambda run: run.info.run_name == text
    if re.fullmatch(rf"[0-9a-f]{{{PREFIX},31}}", text):
        yield f"attributes.run_id LIKE '{text}%'", lambda run: run.info.run_id.startswith(text)


def parsed(text: str) -> object:
    """Return the number, truth value, None or text that `Tracker.open_run` wrote as a param."""
    words: dict[str, object] = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def leaves(path: str, node: Any) -> Iterator[tuple[str, object]]:  # noqa: ANN401 - any JSON value
    """Yield the dotted path and the value of every non-object value below `node`."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(f"{path}.{name}" if path else name, value)
    else:
        yield path, node
