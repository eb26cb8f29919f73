"""The rules of leaks: how test roles leak into training or choices, found in plain records of a project and its stores.

A classifier is held against the test role that it opened or, if it opened none, the test role of its own fold. Everything
that it was made with is examined: its training, the choice of its checkpoint, its synthetic sets, their generators, and the
searches behind these. None of these may have read a lesion that is related to a lesion of the test role: the same lesion,
the same file or cube in another store, or a lesion of the same group.

Whoever holds the facts makes the records: `tracking.project` from MLflow, `studies.ablation.audits` from a grid's folder.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.store.artefacts import Artefact, Kind, Trial, set_artefact
from hyperderm.store.manifest import Opening, Role
from hyperderm.store.overlap import Lesion, LesionMatcher, Overlap, StoreFacts
from hyperderm.store.synthetic import VERB

KINDS = {
    "classifier": "Classifiers whose training saw the test role",
    "evaluation": "Evaluations whose train role shares the test role",
    "generator": "Generators whose training saw the test role",
    "segmenter": "Segmentations whose training saw the test role",
    "unmixer": "Unmixing nets whose training saw the test role",
    "photographs": "Generators that learnt photographs of the test role",
    "checkpoint": "Checkpoints that were chosen on the test role",
    "set": "Synthetic sets made from the test role",
    "search": "Searches that saw the test role",
    "values": "Searches of another fold whose values were used",
    "description": "Descriptions of the test role that something was made with",
    "roles": "Source images in several roles of a fold",
    "foreign": "Predictions of lesions that are not of the test role",
    "late": "Choices made after the test role was opened",
    "peeking": "Test roles opened for several choices of one search",
}
"""The kinds of findings, each with its heading."""
TRAINED: tuple[Kind, ...] = ("generator", "classifier")
"""The kinds of artefacts whose settings may come from the winner of a search."""
WORDS = {"lesion": "same lesion", "file": "same file", "cube": "same cube", "group": "same group"}
SEEN: tuple[Role, ...] = ("train", "validation")
DIGITS = 6
"""If a swept value has this many significant digits, an equal value elsewhere is no coincidence."""


@dataclass(frozen=True)
class Finding:
    """One leak.

    Attributes:
        kind: a key of `KINDS`.
        by: the artefact that touched the test role.
        data: the data that the artefact read.
        role: the test role.
        lesions: number of touched lesions of the role; None if its store was not opened.
        held: number of all lesions of the role; None if its store was not opened.
        how: how the lesions were recognised, such as by the same file.
        users: classifiers that were made with the artefact.
        opened: the number of users that have opened the role.
    """

    kind: str
    by: str
    data: str
    role: str
    lesions: int | None
    held: int | None
    how: str
    users: tuple[str, ...]
    opened: int

    @property
    def own(self) -> bool:
        """Whether a classifier itself read what it is tested on, or the roles of its fold are mixed up."""
        return self.kind in ("roles", "classifier") or (self.kind == "checkpoint" and self.by in self.users)


@dataclass(frozen=True)
class Verdict:
    """The result of an audit.

    Attributes:
        findings: the leaks, in the order of `KINDS`.
        unknown: (name of an artefact, what is unknown about it).
        counts: the number of artefacts of each kind.
        openings: the number of times that test roles were opened.
        roles: the number of different test roles that were opened.
        stores: the number of stores that were read.
    """

    findings: tuple[Finding, ...]
    unknown: tuple[tuple[str, str], ...]
    counts: Mapping[str, int]
    openings: int
    roles: int
    stores: int


def find_leaks(artefacts: Sequence[Artefact], stores: Sequence[StoreFacts]) -> Verdict:
    """Return the leaks, and the facts that remain unknown.

    Args:
        artefacts: all artefacts of the project; synthetic sets among `stores` are added, and replace those known from
            MLflow.
        stores: the stores that could be read, each fingerprint once.
    """
    return _LeakFinder(artefacts, stores).verdict()


class _LeakFinder:
    def __init__(self, artefacts: Sequence[Artefact], stores: Sequence[StoreFacts]) -> None:
        self._stores, self._kin = {store.fingerprint: store for store in stores}, LesionMatcher(stores)
        made = [set_artefact(s.fingerprint, s.uri, s.source) for s in stores if s.source.get("verb") == VERB]
        self._known = {one.key: one for one in (*artefacts, *made)}
        self._searches = [one for one in self._known.values() if one.kind == "search"]
        self._of_trial = {trial.key: one for one in self._searches for trial in one.trials if trial.key}
        self._found: dict[tuple[str, str, str, str], tuple[int | None, int | None, str]] = {}
        self._users: dict[tuple[str, str, str, str], dict[str, bool]] = {}  # of a finding, and whether each opened the role
        self._unknown: dict[tuple[str, str], None] = {}
        self._choices: dict[tuple[Opening, str], dict[str, dict[str, bool]]] = {}

    def verdict(self) -> Verdict:
        for one in self._known.values():
            for missing in one.missing:
                self._doubt(one.name, f"not recorded: {missing}")
        roots = [one for one in self._known.values() if one.classifies]
        for root in roots:
            self._examine(root)
        self._peeking()
        findings = [
            Finding(*where, *found, tuple(self._users[where]), sum(self._users[where].values()))
            for where, found in self._found.items()
        ]
        openings = [opening for root in roots for opening in root.openings]
        return Verdict(
            tuple(sorted(findings, key=lambda one: list(KINDS).index(one.kind))),
            tuple(self._unknown),
            Counter(one.kind for one in self._known.values()),
            len(openings),
            len({(one.manifest, one.fold) for one in openings}),
            len(self._stores),
        )

    def _examine(self, root: Artefact) -> None:
        chain = self._chain(root)
        own = [Opening(root.manifest, root.fold)] if root.manifest and root.fold is not None else []
        for held in own:
            self._crossing(root, held)
        for held in root.openings or own:
            tested = self._tested(root, held)
            for member in chain:
                self._touching(root, member, held, tested)
                self._pictures(root, member, held, tested)
                self._values(root, member, held, tested)
            if root.predicted and tested is not None:
                self._foreign(root, held, tested)
            if root.openings:
                self._late(root, held, tested)
                self._note_choices(root, chain, held)

    def _crossing(self, root: Artefact, held: Opening) -> None:
        if store := self._stores.get(held.manifest):
            overlap = Overlap(len(store.crossing(held.fold)), ())
            self._add("roles", root, store.uri, f"source images of store {held.manifest[:8]}", held, store.all(), overlap)

    def _foreign(self, root: Artefact, held: Opening, tested: set[Lesion]) -> None:
        foreign = root.predicted - {
            (row.lesion_id, row.group)
            for row in self._stores[held.manifest].rows
            if (held.manifest, row.lesion_id) in tested
        }
        self._add("foreign", root, root.name, "its predictions", held, tested, Overlap(len(foreign), ()))

    def _chain(self, root: Artefact) -> list[Artefact]:
        """Return the classifier and everything it was made with."""
        found, waiting = {root.key: root}, [root]
        while waiting:
            user = waiting.pop()
            for key in user.uses:
                used = self._used(key)
                if used is None:
                    self._doubt(user.name, f"made with {key}, which is neither in MLflow nor among the stores")
                elif used.key not in found:
                    found[used.key] = used
                    waiting.append(used)
        return list(found.values())

    def _used(self, key: str) -> Artefact | None:
        """Return the artefact that `key` names; a trial stands for its whole search, from which it was chosen."""
        return self._known.get(key) or self._of_trial.get(key)

    def _tested(self, root: Artefact, held: Opening) -> set[Lesion] | None:
        store = self._stores.get(held.manifest)
        tested = store.roles(held.fold, ("test",), root.diagnoses) if store else None
        if tested is None:
            self._doubt(
                root.name,
                f"{_role(held)} could not be read: where folds differ its lesions are not counted, and pictures that "
                "other stores share with it are not seen",
            )
        return tested

    def _touching(self, root: Artefact, member: Artefact, held: Opening, tested: set[Lesion] | None) -> None:
        if member.fold_free:
            self._by_pixels(root, member, held, tested)
            return
        if not member.manifest or member.fold is None:
            return  # said once, as missing
        store = self._stores.get(member.manifest)
        if tested is None or store is None:
            self._by_fold(root, member, held, tested)
            return
        for kind, roles in _parts(member):
            touched = store.roles(member.fold, roles, self._diagnoses(member))
            if touched is None:
                self._doubt(member.name, f"its store has no fold {member.fold}")
                return
            touched |= self._rows(member)
            self._add(kind, root, member.name, _data(member, roles), held, tested, self._kin.overlap(touched, tested))
        self._relatable(member, store, self._stores[held.manifest])

    def _pictures(self, root: Artefact, member: Artefact, held: Opening, tested: set[Lesion] | None) -> None:
        """Examine the photographs that a generator learnt beside its cubes; unlabelled ones count as of any diagnosis."""
        if not member.photographs:
            return
        store = self._stores.get(member.photographs)
        if store is None or tested is None:
            self._doubt(member.name, f"learnt photographs of store {member.photographs[:8]}, which could not be compared")
            return
        wanted = member.diagnoses
        known = {(store.fingerprint, row.lesion_id) for row in store.rows if row.diagnosis not in (None, UNKNOWN)}
        other = {
            (store.fingerprint, row.lesion_id) for row in store.rows if wanted is not None and row.diagnosis not in wanted
        }
        overlap = self._kin.overlap(store.all() - (known & other), tested)
        self._add("photographs", root, member.name, f"photographs of store {store.fingerprint[:8]}", held, tested, overlap)

    def _by_pixels(self, root: Artefact, member: Artefact, held: Opening, tested: set[Lesion] | None) -> None:
        """Examine an artefact that has seen pixels of every lesion of a store."""
        store = self._stores.get(member.manifest)
        if store is None or tested is None:
            self._doubt(member.name, f"is fold-free and read store {member.manifest[:8]}, which could not be compared")
            return
        data = f"every lesion of store {member.manifest[:8]}"
        self._add(member.kind, root, member.name, data, held, tested, self._kin.overlap(store.all(), tested))
        self._relatable(member, store, self._stores[held.manifest])

    def _by_fold(self, root: Artefact, member: Artefact, held: Opening, tested: set[Lesion] | None) -> None:
        """Examine an artefact if a store is missing: within one manifest, every other fold has seen this test role."""
        own = self._kin.overlap(self._rows(member), tested) if tested is not None else None
        if own and own.lesions:
            self._add(member.kind, root, member.name, "its own rows", held, tested, own)
        elif member.manifest != held.manifest:
            self._doubt(
                member.name,
                f"read store {member.manifest[:8]}, {root.name} is tested on {held.manifest[:8]}: whether they share "
                "pictures cannot be told without both (--store)",
            )
        elif member.fold != held.fold:
            self._add(member.kind, root, member.name, _data(member, SEEN), held, tested, None)

    def _rows(self, member: Artefact) -> set[Lesion]:
        """Return the lesions of a synthetic set, and the real lesions that its cubes are derived from."""
        store = self._stores.get(member.key) if member.kind == "set" else None
        if store is None:
            return set()
        return store.all() | {(member.manifest, row.derived_from) for row in store.rows if row.derived_from}

    def _diagnoses(self, member: Artefact) -> tuple[str, ...] | None:
        """Return the diagnoses that an artefact read; for a set, those that its generator read, if they are known."""
        if member.kind != "set":
            return member.diagnoses
        makers = [used for key in member.uses if (used := self._used(key))]
        same = [one for one in makers if (one.manifest, one.fold) == (member.manifest, member.fold)]
        return same[0].diagnoses if same else None

    def _relatable(self, member: Artefact, one: StoreFacts, other: StoreFacts) -> None:
        blind = any(not row.files for store in (one, other) for row in store.rows)
        compared = one.shape == other.shape and all(row.cube for store in (one, other) for row in store.rows)
        if one.fingerprint != other.fingerprint and blind and not compared:
            self._doubt(
                member.name,
                f"its store {one.uri} and {other.uri} are only compared in part: rows without a source file's hash, and "
                "cubes of another shape or not read",
            )

    def _values(self, root: Artefact, member: Artefact, held: Opening, tested: set[Lesion] | None) -> None:
        """Find searches of other folds with a trial of exactly the artefact's values, even if no record names the search."""
        if member.kind not in TRAINED:
            return
        matching = [(one, trial) for one in self._searches if (trial := _trial_of(one, member.settings))]
        if any((one.manifest, one.fold) == (member.manifest, member.fold) for one, _ in matching):
            return  # its own fold's search gives these values as well: samplers repeat themselves
        for search, trial in matching:
            if search.key in member.uses or search.fold is None:
                continue
            store, overlap = self._stores.get(search.manifest), None
            if store and tested is not None:
                touched = store.roles(search.fold, SEEN, search.diagnoses)
                overlap = self._kin.overlap(touched or (), tested)
            elif search.manifest != held.manifest:
                self._doubt(member.name, f"has the values of {search.name}, {trial.name}, a search on another store")
                continue
            elif search.fold == held.fold:
                continue
            data = f"{_data(search, SEEN)}; {trial.name} has the values of {member.name}"
            self._add("values", root, search.name, data, held, tested, overlap)

    def _late(self, root: Artefact, held: Opening, tested: set[Lesion] | None) -> None:
        opened, chosen = _time(held.at), _time(root.chosen_at)
        if opened is None or chosen is None:
            self._doubt(root.name, f"when {'its choices were made' if opened else 'it opened the test role'}")
        elif chosen > opened:
            every = None if tested is None else Overlap(len(tested), ())
            data = f"chosen at {root.chosen_at}, opened at {held.at}"
            self._add("late", root, root.name, data, held, tested, every)

    def _note_choices(self, root: Artefact, chain: Sequence[Artefact], held: Opening) -> None:
        """Record which trial of which search this opening served."""
        role = Opening(held.manifest, held.fold)
        for member in chain:
            for search in self._searches:
                if choice := _choice(member, search):
                    self._choices.setdefault((role, search.key), {}).setdefault(choice, {})[root.name] = True

    def _peeking(self) -> None:
        for (role, key), choices in self._choices.items():
            if len(choices) < 2:
                continue
            data = f"opened for {len(choices)} choices: {', '.join(sorted(choices))}"
            store = self._stores.get(role.manifest)
            tested = store.roles(role.fold, ("test",), None) if store else None
            count = None if tested is None else len(tested)
            where = ("peeking", self._known[key].name, data, _role(role))
            self._found[where] = (count, count, "")
            self._users[where] = {user: True for each in choices.values() for user in each}

    def _add(
        self,
        kind: str,
        root: Artefact,
        by: str,
        data: str,
        held: Opening,
        tested: set[Lesion] | None,
        overlap: Overlap | None,
    ) -> None:
        """Record a leak unless it touches no lesion; `overlap` is None if the lesions cannot be counted."""
        if overlap is not None and not overlap.lesions:
            return
        how = "" if kind == "late" else "same store, another fold"
        if overlap:
            how = ", ".join(f"{WORDS[reason]} {count}" for reason, count in overlap.how)
        counts = overlap.lesions if overlap else None, None if tested is None else len(tested)
        where = (kind, by, data, _role(held))
        self._found.setdefault(where, (*counts, how))
        self._users.setdefault(where, {})[root.name] = bool(root.openings)

    def _doubt(self, name: str, what: str) -> None:
        self._unknown.setdefault((name, what))


def _parts(member: Artefact) -> list[tuple[str, tuple[Role, ...]]]:
    """Return the roles that an artefact read, with the kind of a leak through each."""
    whole = member.kind in ("set", "search")
    return [(member.kind, SEEN)] if whole else [(member.kind, ("train",)), ("checkpoint", ("validation",))]


def _trial_of(search: Artefact, settings: Mapping[str, object]) -> Trial | None:
    """Return the trial with exactly the values of `settings`, provided that one value is too precise to be a coincidence."""
    for trial in search.trials:
        precise = any(isinstance(value, float) and _digits(value) >= DIGITS for value in trial.values.values())
        if precise and all(path in settings and settings[path] == value for path, value in trial.values.items()):
            return trial
    return None


def _choice(member: Artefact, search: Artefact) -> str | None:
    """Return in words what the artefact took from `search`; None if it took nothing."""
    if named := [trial for trial in search.trials if trial.key in member.uses]:
        return named[0].name
    if member.kind == "set" and search.key in member.uses:
        return f"checkpoint {member.checkpoint[:8]}"
    if member.kind not in TRAINED:
        return None
    if trial := _trial_of(search, member.settings):
        return trial.name
    if search.key not in member.uses:
        return None
    paths = dict.fromkeys(path for trial in search.trials for path in trial.values)
    return ", ".join(f"{path}={member.settings.get(path)}" for path in paths) or None


def _digits(value: float) -> int:
    return len(repr(abs(value)).partition("e")[0].replace(".", "").strip("0"))


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _role(held: Opening) -> str:
    return f"test role of fold {held.fold} of store {held.manifest[:8]}"


def _data(member: Artefact, roles: Sequence[Role]) -> str:
    what = f"{' and '.join(roles)} of fold {member.fold} of store {member.manifest[:8]}"
    return f"made from {what}" if member.kind == "set" else what
