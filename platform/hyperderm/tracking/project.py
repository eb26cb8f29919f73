"""A whole project as MLflow stores it: what was trained, searched, made and tested, on which data, and what used what."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from hyperderm.learners import role_of
from hyperderm.learners.spec import PIXELWISE
from hyperderm.settings import PENDING
from hyperderm.store.artefacts import Artefact, Kind, Trial, set_artefact
from hyperderm.store.manifest import FOLD_FREE, Opening
from hyperderm.strict import json_of
from hyperderm.tags import (
    ARM_TAG,
    CHOSEN_TAG,
    DENOISING,
    DESCRIPTION,
    EVALUATION,
    FOLD_TAG,
    INPUT_PREFIX,
    INPUT_RUN_PREFIX,
    KEY_TAG,
    MANIFEST_TAG,
    OPENED_TAG,
    PHOTOGRAPHS_TAG,
    PREFIX,
    REPEAT_TAG,
    SEGMENTATION,
    STAGE_TAG,
    STORE_TAG,
    SYNTHETIC_TAG,
    TRIAL_TAG,
    UNMIXING,
)
from hyperderm.tracking.fetch import PAGE, QUESTIONS, asking, check_there, leaves, parsed
from hyperderm.tracking.requests import PARENT_TAG
from hyperderm.training.run_folder import CONFIG, IDENTITY, PLAN, RESULT, Result

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class Project:
    """Everything that MLflow knows of a project.

    Attributes:
        artefacts: searches, generators, sets and classifiers.
        foreign: names of runs without any fact of hyperderm.
        runs: the number of runs that were read.
        stores: addresses of stores that runs name.
    """

    artefacts: tuple[Artefact, ...]
    foreign: tuple[str, ...]
    runs: int
    stores: tuple[str, ...]


def walk(uri: str) -> Project:
    """Read every active run of every experiment.

    Args:
        uri: `http(s)://…` or `sqlite:///…`.

    Raises:
        TrackingError: the server does not answer, or the database does not exist.
    """
    check_there(uri)
    with asking(uri), ThreadPoolExecutor(QUESTIONS) as pool, TemporaryDirectory() as folder:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        runs = list(_runs(client))
        found = pool.map(lambda run: _documents(client, run, Path(folder)), runs)
        return gather([_read(run, documents) for run, documents in zip(runs, found, strict=True)])


@dataclass(frozen=True)
class TrackedFacts:
    """One run with its JSON artifacts by file name; None stands for an artifact that exists but cannot be read."""

    id: str
    name: str
    status: str
    parent: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    documents: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The key of the run, unique over all runs."""
        return self.tags.get(KEY_TAG, self.id)


def gather(runs: Sequence[TrackedFacts]) -> Project:
    """Return the project that consists of `runs`."""
    return _Gatherer(runs).project()


class _Gatherer:
    def __init__(self, runs: Sequence[TrackedFacts]) -> None:
        self._runs = {run.id: run for run in runs}
        self._children: dict[str, list[TrackedFacts]] = {}
        for run in runs:
            self._children.setdefault(run.parent, []).append(run)
        self._stores: dict[str, None] = {}
        self._sets: dict[str, str] = {}  # key of a grid's job that draws a set -> key of the set
        for run in runs:
            made = _result(run).get("fingerprint")
            if run.tags.get(STAGE_TAG) == "synthetic" and made:
                self._sets[run.key] = str(made)

    def project(self) -> Project:
        artefacts: list[Artefact] = []
        foreign: list[str] = []
        for run in self._runs.values():
            tags = run.tags
            if not any(tag.startswith(PREFIX) and tag != KEY_TAG for tag in tags):
                foreign.append(self._name(run))
                continue
            if uri := tags.get(STORE_TAG):
                self._stores.setdefault(uri)
            if made := self._artefact(run):
                artefacts.append(made)
        return Project(tuple(artefacts), tuple(foreign), len(self._runs), tuple(self._stores))

    def _artefact(self, run: TrackedFacts) -> Artefact | None:
        """Return the record of a run; None for a run that others stand for, or that nothing needs."""
        tags, children = run.tags, self._children.get(run.id, [])
        stage = tags.get(STAGE_TAG)
        by_stage: dict[str, Callable[[TrackedFacts], Artefact | None]] = {
            "synthetic": self._drawn,
            "judge": lambda run: None,  # nothing is made with it
            EVALUATION: self._evaluation,
            DESCRIPTION: self._description,
            UNMIXING: self._unmixing,
        }
        if stage in by_stage:
            return by_stage[stage](run)
        if stage in (SEGMENTATION, DENOISING):
            return self._segmentation(run) if MANIFEST_TAG in tags else None  # a cube in a file has no roles
        if stage:
            return self._job(run)
        if ARM_TAG in tags or PLAN in run.documents or any(ARM_TAG in child.tags for child in children):
            return None
        parent = self._runs.get(run.parent)
        if TRIAL_TAG in tags and parent:
            return None
        if TRIAL_TAG in tags:
            return self._trained(run)
        return self._search(run, children) if children or "space" in run.params else self._trained(run)

    def _trained(self, run: TrackedFacts, sets: Sequence[str] = ()) -> Artefact:
        """Return the record of a run; `sets` are keys of synthetic sets that the plan of its grid names."""
        config, classifies = _document(run, CONFIG), _classifies(run)
        settings = {name: parsed(text) for name, text in run.params.items()} | dict(leaves("", config))
        manifest, fold, missing = _facts(run)
        uses, said = self._made_with(run, config, sets)
        openings, chosen, unread = _openings(run)
        if photographs := config.get("data", {}).get("photographs"):
            self._stores.setdefault(str(photographs))
        return Artefact(
            run.key,
            self._name(run),
            _kind(run, classifies),
            classifies,
            manifest,
            fold,
            _diagnoses(settings),
            uses,
            openings,
            chosen,
            settings,
            missing=(*missing, *([] if config else ["its configuration"]), *said, *unread),
            fold_free=run.tags.get(FOLD_TAG) == FOLD_FREE,
            photographs=run.tags.get(PHOTOGRAPHS_TAG, ""),
        )

    def _made_with(
        self, run: TrackedFacts, config: Mapping[str, Any], sets: Sequence[str]
    ) -> tuple[tuple[str, ...], list[str]]:
        """Return the keys of the synthetic sets and the runs that a run used, and which of these facts are not recorded."""
        made, asked = run.tags.get(SYNTHETIC_TAG), config.get("synthetic")
        if asked and asked.get("store") not in (None, "", PENDING):
            self._stores.setdefault(str(asked["store"]))
        before = [key for tag, key in run.tags.items() if tag.startswith(INPUT_RUN_PREFIX) and key]
        nameless = [
            f"the run that left its input {tag.removeprefix(INPUT_PREFIX)}"
            for tag in run.tags
            if tag.startswith(INPUT_PREFIX) and not run.tags.get(INPUT_RUN_PREFIX + tag.removeprefix(INPUT_PREFIX))
        ]
        unnamed = ["which synthetic set it read"] if asked and not made and not sets else []
        return (*([made] if made else []), *before, *sets), [*nameless, *unnamed]

    def _search(self, run: TrackedFacts, children: Sequence[TrackedFacts]) -> Artefact:
        made = self._trained(run)
        trials = tuple(
            Trial(
                child.name,
                # A repeat has the values of its trial, and a seed that nobody searched.
                {} if REPEAT_TAG in child.tags else {name: parsed(text) for name, text in child.params.items()},
                child.key,
            )
            for child in sorted(children, key=lambda child: child.name)
        )
        return replace(made, kind="search", trials=trials)

    def _job(self, run: TrackedFacts) -> Artefact:
        """Return the record of a grid's generator or cell."""
        grid, plan = self._grid(run)
        job = next((each for each in plan.get("jobs", []) if each["key"] == run.params.get("cell")), None)
        trains = run.tags.get(STAGE_TAG) == "generator"
        made = self._trained(run, () if trains else self._sets_of(job or {}, grid))
        missing = list(made.missing)
        if job is None:
            missing.append("the plan of its grid, so what it was made with")
        uses = list(made.uses)
        if trains:
            folder = plan.get("grid", {}).get("searches", {}).get(str((job or {}).get("model")), {}).get(str(made.fold))
            if folder:
                key = self._sweep(str(folder))
                uses += [key] if key else []
                missing += [] if key else [f"the search in {folder}, which is not in MLflow or not alone of its name"]
            uses += [f"{grid.key}/{need}" for need in (job or {}).get("needs", []) if grid]
        elif run.status == "FINISHED" and not _said_opened(run):
            missing.append("which test role it opened")
        return replace(made, uses=tuple(dict.fromkeys(uses)), missing=tuple(missing))

    def _sets_of(self, job: Mapping[str, Any], grid: TrackedFacts | None) -> list[str]:
        if job.get("store"):
            self._stores.setdefault(str(job["store"]))
            return [str(job["source"])]
        keys = [f"{grid.key}/{need}" for need in job.get("needs", [])] if grid else []
        return [self._sets.get(key, key) for key in keys]

    def _drawn(self, run: TrackedFacts) -> Artefact:
        result = _result(run)
        if not result.get("fingerprint"):
            manifest, fold, _ = _facts(run)
            return Artefact(run.key, self._name(run), "set", manifest=manifest, fold=fold, missing=("its origin",))
        return set_artefact(str(result["fingerprint"]), self._name(run), result.get("origin", {}))

    def _evaluation(self, run: TrackedFacts) -> Artefact:
        """Return the record of an evaluation of synthetic sets, which is judged only if it opened a test role."""
        manifest, fold, missing = _facts(run)
        openings, chosen, unread = _openings(run)
        sets = tuple(filter(None, run.tags.get(SYNTHETIC_TAG, "").split(",")))
        for name, uri in run.params.items():
            if name.startswith("synthetic."):
                self._stores.setdefault(uri)
        return Artefact(
            run.key,
            self._name(run),
            "evaluation",
            classifies=bool(openings),
            manifest=manifest,
            fold=fold,
            uses=sets,
            openings=openings,
            chosen_at=chosen,
            missing=(*missing, *unread, *([] if sets else ["which synthetic sets it read"])),
        )

    def _description(self, run: TrackedFacts) -> Artefact:
        """Return the record of a description, which has read every lesion of its store and of which nothing is made."""
        manifest = run.tags.get(MANIFEST_TAG, "")
        missing = () if manifest else ("the store it read",)
        return Artefact(run.key, self._name(run), "description", manifest=manifest, missing=missing, fold_free=True)

    def _unmixing(self, run: TrackedFacts) -> Artefact:
        """Return the record of an unmixing, whose endmembers come from the train role of one fold or from a whole store."""
        manifest, fold, missing = _facts(run)
        free = run.tags.get(FOLD_TAG) == FOLD_FREE
        return Artefact(
            run.key, self._name(run), "unmixer", manifest=manifest, fold=fold, missing=tuple(missing), fold_free=free
        )

    def _segmentation(self, run: TrackedFacts) -> Artefact:
        """Return the record of a segmentation or a denoising, which has learnt from the train role of one fold or a store.

        What made its network counts as used, where an earlier run did.
        """
        manifest, fold, missing = _facts(run)
        uses, unnamed = self._made_with(run, {}, ())
        free = run.tags.get(FOLD_TAG) == FOLD_FREE
        return Artefact(
            run.key,
            self._name(run),
            "segmenter",
            manifest=manifest,
            fold=fold,
            uses=uses,
            missing=(*missing, *unnamed),
            fold_free=free,
        )

    def _grid(self, run: TrackedFacts) -> tuple[TrackedFacts | None, Mapping[str, Any]]:
        at: TrackedFacts | None = run
        while at:
            if PLAN in at.documents:
                return at, _document(at, PLAN)
            at = self._runs.get(at.parent)
        return None, {}

    def _sweep(self, folder: str) -> str | None:
        """Return the key of the search in `folder`: the key in its identity, else that of the only run of this name."""
        try:
            return str(json_of((Path(folder) / IDENTITY).read_text("utf-8"))["key"])
        except (OSError, ValueError, KeyError, TypeError):
            named = [run.key for run in self._runs.values() if run.name == Path(folder).name and not run.parent]
            return named[0] if len(named) == 1 else None

    def _name(self, run: TrackedFacts) -> str:
        parent = self._runs.get(run.parent)
        return f"{self._name(parent)}/{run.name}" if parent else run.name


def _facts(run: TrackedFacts) -> tuple[str, int | None, list[str]]:
    """Return fingerprint and fold of the store that a run read, and which of the two is not recorded."""
    manifest, said = run.tags.get(MANIFEST_TAG, ""), run.tags.get(FOLD_TAG, "")
    fold = int(said) if said.isdecimal() else None
    missing = ([] if manifest else ["the store it read"]) + ([] if fold is not None or said == FOLD_FREE else ["its fold"])
    return manifest, fold, missing


def _openings(run: TrackedFacts) -> tuple[tuple[Opening, ...], str, list[str]]:
    """Return the test roles that a run recorded as opened, the time of its choices, and records that cannot be read."""
    said, chosen = _said_opened(run), str(_result(run).get("chosen_at") or run.tags.get(CHOSEN_TAG, ""))
    if not said:
        return (), chosen, []
    opened = Opening.of(said)
    return ((opened,), chosen, []) if opened else ((), chosen, [f"which test role it opened ({str(said)[:80]!r})"])


def _said_opened(run: TrackedFacts) -> object:
    return _result(run).get("test_opened") or run.tags.get(OPENED_TAG, "")


def _classifies(run: TrackedFacts) -> bool:
    config = _document(run, CONFIG)
    kind = config.get("learner", {}).get("kind") or run.params.get("learner.kind")
    return bool(config.get("task")) or role_of(str(kind)) == "classifier" or OPENED_TAG in run.tags


def _kind(run: TrackedFacts, classifies: bool) -> Kind:
    role = role_of(str(_document(run, CONFIG).get("learner", {}).get("kind") or run.params.get("learner.kind")))
    return "classifier" if classifies else role if role in PIXELWISE else "generator"


def _diagnoses(settings: Mapping[str, object]) -> tuple[str, ...] | None:
    """Return the diagnoses that a run with these settings reads; None for all diagnoses, or if the settings do not say."""
    if (negatives := settings.get("task.negatives")) is not None:
        return ("melanoma", "dysplastic_nevus") if negatives == "dysplastic_nevus" else None
    read, more = settings.get("data.diagnoses"), settings.get("data.pretrain_diagnoses", [])  # an earlier version's
    if isinstance(read, list | tuple) and isinstance(more, list | tuple):
        return tuple(dict.fromkeys(map(str, (*read, *more))))
    return None


def _runs(client: "MlflowClient") -> "Iterator[Run]":
    experiments = [each.experiment_id for each in _pages(lambda token: client.search_experiments(page_token=token))]
    if experiments:
        yield from _pages(lambda token: client.search_runs(experiments, "", max_results=PAGE, page_token=token))


def _pages(ask: Callable[[str | None], Any]) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = ask(token)
        yield from page
        token = page.token or None
        if token is None:
            return


def _documents(client: "MlflowClient", run: "Run", folder: Path) -> dict[str, Any]:
    """Return the JSON artifacts of a run that an audit needs."""
    if not any(tag.startswith(PREFIX) for tag in run.data.tags):
        return {}
    found = {}
    for name in {file.path for file in client.list_artifacts(run.info.run_id)} & {CONFIG, RESULT, PLAN}:
        place = folder / run.info.run_id
        place.mkdir(exist_ok=True)
        try:
            found[name] = json_of(Path(client.download_artifacts(run.info.run_id, name, str(place))).read_text("utf-8"))
        except ValueError:
            found[name] = None
    return found


def _document(run: TrackedFacts, name: str) -> dict[str, Any]:
    found = run.documents.get(name)
    return found if isinstance(found, dict) else {}


def _result(run: TrackedFacts) -> Result:
    return cast(Result, _document(run, RESULT))


def _read(run: "Run", documents: Mapping[str, Any]) -> TrackedFacts:
    return TrackedFacts(
        run.info.run_id,
        str(run.info.run_name),
        run.info.status,
        run.data.tags.get(PARENT_TAG, ""),
        run.data.tags,
        run.data.params,
        documents,
    )
