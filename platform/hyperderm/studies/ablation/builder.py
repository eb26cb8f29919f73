"""The generators, synthetic sets and cells of a grid, each made once together with the proof that the data can serve it."""

import json
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from hyperderm.config import Experiment
from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.errors import ConfigError, StoreError, StudyError, nearest
from hyperderm.grid_config import Ablation, Checkpoint
from hyperderm.identity import shaping
from hyperderm.learners.data import truth
from hyperderm.learners.sampling import apportioned, count_of
from hyperderm.learners.spec import START, UNMIXING, Request
from hyperderm.metrics.two_sample import LEAST
from hyperderm.settings import PENDING
from hyperderm.store.folds import POSITIVE
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import check_origin
from hyperderm.strict import fingerprint, json_of
from hyperderm.studies.ablation.arms import PRETRAIN_SHARE, Arm, Variant
from hyperderm.studies.ablation.jobs import JUDGED_SHARE, SPARE, Job
from hyperderm.training.data import check_size
from hyperderm.training.photographs import HELD_OUT, check_unrelated, photographs_of
from hyperderm.training.run_folder import IDENTITY, STUDY
from hyperderm.training.selection import Selection, select

VERSION = 5
"""Part of every job's name; raise this number when the code changes the result that a configuration leads to."""

ALONE = {"balance_classes": False, "class_dropout": 0.0, "guidance": 1.0}
"""Settings of generators that are told the diagnosis, as they are where there is only one."""
ALONE_OR_WITHOUT: tuple[Variant, ...] = ("melanoma_only", "without_melanoma")
"""The variants whose generator learns a part of the task's classes."""
FOR_EACH_FOLD = {
    START: 'the arm "both" pre-trains a generator for each fold',
    UNMIXING: '--set \'unmixers={{"{}": "unmixer"}}\' trains an unmixing net for each fold',
}
"""What a grid does in place of one run that a generator needs, by the field that names the run."""


class PlanBuilder:
    """Makes each job once, however many cells share it."""

    def __init__(self, grid: Ablation, store: Store, generators: Mapping[str, Experiment], folds: Sequence[int]) -> None:
        self.grid, self.store, self.generators, self.folds = grid, store, generators, folds
        self.manifest = store.manifest.fingerprint
        self.selections: dict[int, Selection] = {}
        self.diagnosis = dict(zip(*(store.index().column(c).to_pylist() for c in ("lesion_id", "diagnosis")), strict=True))
        self._bases: dict[tuple[str, int], Experiment] = {}
        self._generators: dict[tuple[str, Variant, int], Job] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._sets: dict[str, tuple[Job, Checkpoint]] = {}
        self._undrawn: dict[str, Job] = {}
        self._unrelated: set[int] = set()
        self._digests: dict[str, str] = {}
        self._external: dict[tuple[str, int], Store] = {}
        self._learnt_photographs: dict[str, str] = {}
        self.photographs = _photographs(grid.rgb) if grid.rgb else None
        self.rgb = self.photographs.manifest.fingerprint if self.photographs else ""

    @property
    def content(self) -> dict[str, str]:
        """Return fingerprints of what the grid names by an address, since the content of an address may change."""
        sets = {f"sets.{name}.{fold}": made.manifest.fingerprint for (name, fold), made in self._external.items()}
        weights = {f"{name}.weights_sha256": digest for name, digest in self._digests.items() if digest}
        photographs = {f"data.photographs {uri}": made for uri, made in self._learnt_photographs.items()}
        return {"rgb": self.rgb} | sets | weights | photographs

    def before(self, needs: Sequence[str]) -> list[Job]:
        """Return the generators and the sets that a cell needs; all cells must be known, since they fix the set's size."""
        found: list[Job] = []
        for key in needs:
            if key in self._undrawn:
                job = self._undrawn[key]
                found += [*(each for need in job.needs for each in self._maker(need)), job]
                continue
            maker, state = self._sets[key]
            found += self._with_inputs(maker.key)
            model = maker.model if state == "best" else f"{maker.model}, {state}"
            found.append(
                Job(key, "synthetic", f"set of {model} fold {maker.fold}", maker.fold, None, (maker.key,), model=model,
                    seed=self.grid.generator_seed, counts=self._counts[key], gpus=self.grid.resources.gpus, checkpoint=state)
            )  # fmt: skip
        return found

    def _maker(self, need: str) -> list[Job]:
        """Return the set or the generator with this key, after what it needs."""
        return self.before([need]) if need in self._sets else self._with_inputs(need)

    def _with_inputs(self, key: str) -> list[Job]:
        """Return the generator with this key, after the generators that it begins from."""
        job = next(job for job in self._generators.values() if job.key == key)
        return [*(each for need in job.needs for each in self._with_inputs(need)), job]

    def cell(self, arm: Arm, model: str, fold: int, seed: int) -> Job:
        """Return the job of one cell, and record the synthetic cubes that it needs."""
        grid, spec = self.grid, self.grid.classifiers[model]
        try:
            experiment = arm.experiment(grid, spec, fold, seed, PENDING)
        except ConfigError as error:
            raise ConfigError(f"model {model} does not fit the grid: {error}", "Change size or the model.") from None
        train = len(self._select(experiment, keep=arm.share == 1).train)
        if not spec.learner.fit_once:
            _check_batch(f"classifiers.{model}.", experiment, train, grid.resources.workers)
        source, store = "", ""
        needs: tuple[str, ...] = ()
        if arm.generator:
            source, store, needs = self._source(arm, fold)
        facts = {
            "experiment": shaping(experiment),
            "manifest": self.manifest,
            "source": source,
            "weights": self._weights(model),
            "version": VERSION,
        }
        gpus = spec.gpus if spec.gpus is not None else 0.0 if spec.learner.fit_once else grid.resources.gpus
        label = f"{arm.name}/{model} fold {fold} seed {seed}"
        return Job(
            fingerprint(facts)[:16], "cell", label, fold, experiment, needs, arm.name, model, seed, store=store, gpus=gpus,
            source=source, workers=1 if spec.learner.fit_once else grid.resources.workers,
        )  # fmt: skip

    def judge(self, cell: Job, arm: Arm) -> Job:
        """Return the job of the judge of the synthetic set of a cell of `arm`, a network of the cell's own model."""
        assert cell.experiment is not None
        spec = self.grid.classifiers[cell.model]
        images = max(cell.experiment.training.batch_size, round(spec.training.images * JUDGED_SHARE))
        values: dict[str, Any] = {"seed": self.grid.generator_seed, "data.feed": "memory", "training.images": images}
        values |= {"training.validate_every": images, "synthetic.ratio": 1.0, "synthetic.use": "add"}
        values |= {"training.pretrain_images": 0}
        experiment = cell.experiment.override(values)
        facts = {"experiment": shaping(experiment), "manifest": self.manifest, "source": cell.source, "judge": True}
        key = fingerprint(facts | {"weights": self._weights(cell.model), "version": VERSION})[:16]
        kind = "" if arm.variant == "own" else f" ({arm.variant.replace('_', ' ')})"
        kind += "" if arm.checkpoint == "best" else f", {arm.checkpoint}"
        whose = str(self._undrawn[cell.source].model if cell.source in self._undrawn else f"{arm.generator}{kind}")
        return Job(
            key, "judge", f"{cell.model} of {whose} fold {cell.fold}", cell.fold, experiment, cell.needs,
            model=cell.model, seed=experiment.seed, store=cell.store, gpus=cell.gpus, source=cell.source,
        )  # fmt: skip

    def _weights(self, model: str) -> str:
        """Return the sha256 of the file of initial weights of the model, since the content of the file may change."""
        if model not in self._digests:
            bands = len(self.store.manifest.wavelengths_nm)
            self._digests[model] = self.grid.classifiers[model].learner.weights_sha256(bands)
        return self._digests[model]

    def _source(self, arm: Arm, fold: int) -> tuple[str, str, tuple[str, ...]]:
        """Return the identity of the arm's synthetic cubes, their URI if made elsewhere, and the jobs that make them."""
        assert arm.generator is not None
        if arm.generator in self.grid.sets:
            return self._source_elsewhere(arm, fold)
        generator = self._generator(arm.generator, arm.variant, fold)
        if arm.rebuilt:
            key = self._rebuilt(arm, generator)
            return key, "", (key,)
        facts = {"generator": generator.key, "seed": self.grid.generator_seed, "rgb": self.rgb}
        if arm.checkpoint != "best":
            _check_states(arm, generator)
            facts["checkpoint"] = arm.checkpoint
        key = fingerprint(facts)[:16]
        kept, drawn = self._with_spare(arm, generator)
        self._sets.setdefault(key, (generator, arm.checkpoint))
        counts = self._counts.setdefault(key, {})
        for diagnosis, count in drawn.items():
            counts[diagnosis] = max(counts.get(diagnosis, 0), count)
        if arm.curation:
            key = self._curation(arm, fold, key, kept, drawn, (key, generator.key))
        return key, "", (key,)

    def _rebuilt(self, arm: Arm, generator: Job) -> str:
        """Return the key of the job that rebuilds all of train by a generator, made once."""
        counts, seed = self._wanted(arm, generator.fold), self.grid.generator_seed
        key = fingerprint({"generator": generator.key, "rebuilt": counts, "seed": seed, "version": VERSION})[:16]
        label = f"train of fold {generator.fold} rebuilt by {generator.model}"
        job = Job(
            key, "synthetic", label, generator.fold, None, (generator.key,), model=f"{generator.model}, rebuilt", seed=seed,
            counts=counts, gpus=self.grid.resources.gpus, rebuilt=True,
        )  # fmt: skip
        self._undrawn.setdefault(key, job)
        return key

    def _source_elsewhere(self, arm: Arm, fold: int) -> tuple[str, str, tuple[str, ...]]:
        if arm.checkpoint != "best":
            raise ConfigError(
                f"checkpoints names {arm.checkpoint}, and the sets of {arm.generator} were made elsewhere",
                "Leave checkpoints out, or name the sets of each state as a generator in sets.",
            )
        kept, drawn = self._amounts(arm, fold, 0)
        made = self._elsewhere(arm, fold, drawn)
        more = self._amounts(arm, fold, SPARE)
        if all(made.manifest.diagnoses[name] >= count for name, count in more[1].items()):
            kept, drawn = more
        if not arm.curation:
            return made.manifest.fingerprint, made.location.uri, ()
        key = self._curation(arm, fold, made.manifest.fingerprint, kept, drawn, (), made.location.uri)
        return key, "", (key,)

    def _curation(
        self,
        arm: Arm,
        fold: int,
        pool: str,
        kept: Mapping[str, int],
        drawn: Mapping[str, int],
        needs: tuple[str, ...],
        store: str = "",
    ) -> str:
        """Return the key of the job that makes the arm's set from a larger one, made once.

        Args:
            arm: an arm with a curation.
            fold: the test fold.
            pool: the key of the larger set, or the fingerprint of one made elsewhere.
            kept: diagnosis to number of cubes that are kept.
            drawn: diagnosis to number of cubes of the larger set.
            needs: the larger set and its generator; () if made elsewhere.
            store: the address of a larger set made elsewhere, or "".
        """
        seed, how = self.grid.generator_seed, " ".join(f"{name} {value}" for name, value in arm.curation.items())
        facts = {"pool": pool, "curation": dict(arm.curation), "counts": dict(kept), "drawn": dict(drawn), "seed": seed}
        key = fingerprint(facts | {"version": VERSION})[:16]
        label = f"set of {arm.generator} fold {fold}, {how}, {sum(kept.values())} of {sum(drawn.values())}"
        job = Job(
            key, "synthetic", label, fold, None, needs, model=f"{arm.generator}, {how}", seed=seed, counts=dict(kept),
            store=store, curation=dict(arm.curation), drawn=dict(drawn),
        )  # fmt: skip
        self._undrawn.setdefault(key, job)
        return key

    def _with_spare(self, arm: Arm, generator: Job) -> tuple[dict[str, int], dict[str, int]]:
        """Return the amounts of the arm, with spare cubes for the shortcut meter where the generator can make so many."""
        for spare in (SPARE, 0):
            kept, drawn = self._amounts(arm, generator.fold, spare)
            try:
                for diagnosis, count in drawn.items():
                    self._check_sources(arm, generator, diagnosis, count)
            except ConfigError:
                if not spare:
                    raise
            else:
                break
        return kept, drawn

    def _amounts(self, arm: Arm, fold: int, spare: int) -> tuple[dict[str, int], dict[str, int]]:
        """Return how many cubes of each diagnosis the arm's set holds, and how many are drawn to choose from."""
        kept = {diagnosis: count + spare for diagnosis, count in self._wanted(arm, fold).items()}
        chosen = "keep" in arm.curation
        return kept, {name: ceil(self.grid.pool * count) for name, count in kept.items()} if chosen else dict(kept)

    def _check_sources(self, arm: Arm, generator: Job, diagnosis: str, count: int) -> None:
        """Prove, before a generator trains, that it can make the requested cubes."""
        assert generator.experiment is not None
        learner, learnt = generator.experiment.learner, self._learnt(generator.experiment)
        if self.photographs and learner.condition == "rgb":
            held = len(self._photographs_for(arm, diagnosis))
            self._check_unrelated(self.photographs, generator.fold)
        else:
            lesions = set(self.selections[generator.fold].train)
            lesions &= self.store.with_masks() if learner.condition == "mask" else lesions
            held = sum(self.diagnosis[lesion] == diagnosis for lesion in lesions)
        given = self.photographs is not None and learner.condition == "rgb"  # other generators have no use for them
        request = Request({diagnosis: count}, sorted(learnt), {diagnosis: held}, given)
        try:
            learner.check_request(request)
        except ConfigError as error:
            lacks = self.photographs is None and learner.condition == "rgb" and diagnosis in learnt
            rgb = "; photographs come by --set rgb=URI" if lacks else ""
            remedy = error.remedy if error.remedy.endswith((".", "?")) else f"{error.remedy}."
            if diagnosis in learnt and learner.condition == "none" and learner.told_apart:
                told = json.dumps({arm.generator: {**learner.told_apart, "data.diagnoses": "all"}})
                remedy = f"Tell it the diagnosis: --set 'generator_settings={told}'."
            elif diagnosis not in learnt:
                wanted = self.grid.with_settings(str(arm.generator), {"data.diagnoses": [diagnosis]})
                remedy = f"{remedy} What it learns stands in generator_settings: {wanted}."
            raise ConfigError(
                f"arm {arm.name}, generator {arm.generator}: {error.what}{rgb}",
                f"{remedy} Or leave that arm out, or take a smaller ratio or another generator.",
            ) from None

    def _check_unrelated(self, photographs: Store, fold: int) -> None:
        """Prove once for each fold that no photograph shows a lesion of the store: they are to be of other ones."""
        if fold not in self._unrelated:
            chosen = photographs.index().column("lesion_id").to_pylist()
            check_unrelated(self.store, photographs, chosen, fold, "rgb =", (*HELD_OUT, "train"))
            self._unrelated.add(fold)

    def _photographs_for(self, arm: Arm, diagnosis: str) -> list[str]:
        """Return the photographs from which the arm's cubes of a diagnosis are made; a StudyError names the arm."""
        assert self.photographs is not None
        if set(self.photographs.manifest.diagnoses) == {UNKNOWN} and diagnosis != POSITIVE:
            raise StudyError(
                f"arm {arm.name} needs photographs of {diagnosis}, and rgb = {self.grid.rgb} says no diagnosis",
                "Ingest the photographs with a table of diagnoses, or leave that arm out.",
            )
        try:
            return photographs_of(self.photographs, diagnosis, self.grid.size, "rgb =")
        except StudyError as error:
            left = json.dumps([kind for kind in self.grid.arms if kind != arm.word], separators=(",", ":"))
            raise StudyError(
                f"arm {arm.name} needs photographs of {diagnosis}: {error.what}",
                f"{error.remedy} Without that arm: --set 'arms={left}' (make: SET='arms={left}').",
            ) from error

    def _elsewhere(self, arm: Arm, fold: int, drawn: Mapping[str, int]) -> Store:
        name = str(arm.generator)
        uris = self.grid.sets[name]
        if str(fold) not in uris:
            raise ConfigError(f"sets.{name} names no store for fold {fold}", "Each fold needs one of its own.")
        if (name, fold) not in self._external:
            self._external[name, fold] = open_store(uris[str(fold)])
            check_origin(self._external[name, fold], self.store, fold)
            check_size(self.grid.size, self._external[name, fold].manifest.shape[:2])
        made = self._external[name, fold]
        held = made.manifest.diagnoses
        for diagnosis, count in drawn.items():
            if held.get(diagnosis, 0) < count:
                raise StoreError(
                    f"sets.{name} of fold {fold} holds {held.get(diagnosis, 0)} {diagnosis}, arm {arm.name} needs {count}",
                    "Make a larger set, or leave the arm or ratio out.",
                )
        return made

    def _wanted(self, arm: Arm, fold: int) -> dict[str, int]:
        """Return how many synthetic cubes of each diagnosis, as they are drawn, the arm shows."""
        held = [self.diagnosis[lesion] for lesion in self.selections[fold].train]
        positives = int(truth(held).sum())
        wanted = {POSITIVE: count_of(positives, len(held) - positives, arm.ratio)}
        known = sorted(set(held) & self._drawable(arm, fold))
        if arm.use != "add":
            each = float(arm.ratio) if arm.use == "add_both" else 1.0
            wanted = {d: ceil(each * held.count(d)) for d in known}
        if arm.variant == "without_melanoma":
            wanted = apportioned(wanted[POSITIVE], {d: held.count(d) for d in known if d != POSITIVE})
        if not any(wanted.values()) or (arm.use == "add_both" and not count_of(positives, 0, arm.ratio)):
            raise ConfigError(
                f"ratios names {arm.ratio!r}: in fold {fold} it adds no melanoma to {positives} of {len(held)} train cubes",
                "Leave that ratio out.",
            )
        return {d: count for d, count in wanted.items() if count}

    def meaningless(self, arm: Arm) -> str:
        """Return why the arm has no meaning with its generator and this store; "" if it has one."""
        changed = arm.variant not in ("own", "all_classes") or arm.rebuilt or arm.word == "conditional"
        if changed and arm.generator in self.grid.sets:
            return f"{arm.generator} was made elsewhere, by one generator that is not at hand"
        if changed:
            return self._unmade(arm, self._base(str(arm.generator), self.folds[0]))
        return self._unjudged() if arm.curation.get("keep") in ("judge", "all") else ""

    def _unmade(self, arm: Arm, base: Experiment) -> str:
        """Return why the arm's generator, whose experiment is `base`, cannot be trained or used as the arm asks."""
        name = arm.generator
        if arm.rebuilt:
            return "" if base.learner.rebuilds else f"{name} cannot rebuild a given cube"
        if arm.variant in ("pretrained", "all_classes") and self._classes() <= self._learnt(base):
            return f"{name} learns every class of the task anyway"
        if arm.variant == "melanoma_only" and self._learnt(base) == {POSITIVE}:
            return f"{name} learns melanomas alone anyway"
        if arm.variant == "pretrained":
            return "" if START in base.learner.inputs else f"{name} cannot begin from another run, so it is not pre-trained"
        classes = _learnt_by(arm.variant, self._classes())
        try:
            base.override(self._values(base, arm.variant, classes, self.folds[0]))
        except ConfigError as error:
            how = {"photographs": "from photographs"} | {kind: kind.replace("_", " ") for kind in ALONE_OR_WITHOUT}
            return f"{name} cannot learn {how.get(arm.variant, 'every class')}: {error.what}"
        return ""

    def _unjudged(self) -> str:
        """Return why no judge of real against synthetic melanomas can be held out; "" if one can in every fold."""
        group = {row["lesion_id"]: row["group"] for row in self.store.index().to_pylist()}
        for fold in self.folds:
            held = len({group[lesion] for lesion in self.store.select("train", fold, (POSITIVE,))})
            if held < LEAST:
                return f"its judge needs {LEAST} melanomas of different groups, train of fold {fold} holds {held}"
        return ""

    def _classes(self) -> set[str]:
        task = self.grid.task.diagnoses
        return set(self.store.manifest.diagnoses) if task == "all" else set(task)

    def _drawable(self, arm: Arm, fold: int) -> set[str]:
        """Return the diagnoses that the arm's set can hold; one that learns the grid's classes by name lacks rare ones."""
        name = str(arm.generator)
        elsewhere = arm.rebuilt or name in self.grid.sets
        if elsewhere or (arm.variant != "without_melanoma" and self._base(name, fold).data.diagnoses == "all"):
            return set(self.store.manifest.diagnoses)
        return self._present(fold)

    def _present(self, fold: int) -> set[str]:
        """Return the diagnoses that a generator can learn in a fold: train and validation hold them both."""
        chosen = self.selections[fold]
        return {self.diagnosis[each] for each in chosen.train} & {self.diagnosis[each] for each in chosen.validation}

    def _learnt(self, base: Experiment) -> set[str]:
        return set(self.store.manifest.diagnoses) if base.data.diagnoses == "all" else set(base.data.diagnoses)

    def _generator(self, name: str, variant: Variant, fold: int) -> Job:
        base = self._base(name, fold)
        classes = self._classes() & self._present(fold)
        if variant in ALONE_OR_WITHOUT:
            classes = _learnt_by(variant, classes)
        elif variant not in ("own", "photographs") and classes <= self._learnt(base):
            variant = "own"  # it learns all of them already
        if (name, variant, fold) in self._generators:
            return self._generators[name, variant, fold]
        values = self._values(base, variant, classes, fold)
        net = self.grid.unmixers.get(name)
        unseen: Variant = "without_melanoma" if variant == "without_melanoma" else "own"
        inputs = {UNMIXING: self._generator(net, unseen, fold).key} if net else {}
        if variant == "pretrained":
            inputs[START] = self._generator(name, "pretraining", fold).key
        try:
            experiment = base.override(values)
        except ConfigError as error:
            raise ConfigError(f"generator {name}, {variant.replace('_', ' ')}: {error.what}", error.remedy) from None
        if net:
            self._check_net(name, net, experiment)
        train = len(self._select(experiment, keep=False).train)
        _check_batch(f"{name}: ", experiment, train, self.grid.resources.workers)
        facts = {
            "experiment": shaping(experiment),
            "manifest": self.manifest,
            "version": VERSION,
        } | ({"inputs": inputs} if inputs else {})
        if experiment.data.photographs:
            facts["photographs"] = self._content_of(experiment.data.photographs)
        suffix = "" if variant == "own" else f" ({variant.replace('_', ' ')})"
        job = Job(
            fingerprint(facts)[:16], "generator", f"{name}{suffix} fold {fold}", fold, experiment, tuple(inputs.values()),
            model=name, gpus=self.grid.resources.gpus, inputs=inputs, workers=self.grid.resources.workers,
        )  # fmt: skip
        self._generators[name, variant, fold] = job
        return job

    def _check_net(self, name: str, net: str, experiment: Experiment) -> None:
        """Prove, before a net trains, that the generator can use it."""
        made = self._base(net, experiment.data.fold)
        try:
            experiment.learner.check_input(UNMIXING, made.learner, made, experiment)
        except ConfigError as error:
            raise ConfigError(
                f"unmixers names {net} for generator {name}: {error.what}",
                f"{error.remedy} In a grid the settings of {net} stand in generator_settings, such as "
                f'--set \'generator_settings={{"{net}":{{"learner.bands":"rgb"}}}}\'.',
            ) from None

    def _values(self, base: Experiment, variant: Variant, classes: set[str], fold: int) -> dict[str, Any]:
        """Return what the grid and the variant change in a generator's experiment."""
        values: dict[str, Any] = {"data.fold": fold, "data.size": self.grid.size, "seed": self.grid.generator_seed}
        first = round(base.training.images * PRETRAIN_SHARE)
        if self.grid.feed != "auto":
            values["data.feed"] = self.grid.feed
        if variant in ("all_classes", "pretraining", *ALONE_OR_WITHOUT):
            values["data.diagnoses"] = sorted(classes)
        if variant == "all_classes" or (variant in ALONE_OR_WITHOUT and len(classes) > 1):
            values |= base.learner.told_apart
        elif variant in ALONE_OR_WITHOUT:
            values |= dict.fromkeys(base.learner.told_apart, "none")
            fields = type(base.learner).model_fields  # settings that mean something only beside several diagnoses
            values |= {f"learner.{name}": value for name, value in ALONE.items() if name in fields}
        if variant == "photographs":
            values["data.photographs"] = self.grid.photographs
        if variant == "pretraining":
            values["training.images"] = first
        if variant == "pretrained":
            values |= {f"learner.{START}": PENDING, "training.images": base.training.images - first}
        return values

    def _content_of(self, photographs: str) -> str:
        """Return the fingerprint of photographs that a generator learns, since the content of an address may change."""
        if photographs not in self._learnt_photographs:
            self._learnt_photographs[photographs] = open_store(photographs, verify=False).manifest.fingerprint
        return self._learnt_photographs[photographs]

    def _base(self, name: str, fold: int) -> Experiment:
        if name not in self.generators:
            known = [*self.generators, *self.grid.sets]
            raise ConfigError(f"generators names {name!r}, which is no generator", nearest(name, known))
        if (name, fold) not in self._bases:  # a search is read once, however many cells ask
            found = self.grid.searches.get(name, {}).get(str(fold))
            values = winner(Path(found), fold, self.manifest, self.generators[name].name) if found else {}
            self._bases[name, fold] = base = self.generators[name].override(values)
            for field, run in base.learner.needed.items():
                if field == UNMIXING and name in self.grid.unmixers:
                    continue  # a net of each fold takes its place
                raise ConfigError(
                    f"generator {name} begins from a run (learner.{field} = {run}): a run is of one fold, a grid of several",
                    f"Leave it out; {FOR_EACH_FOLD[field].format(name)}.",
                )
        return self._bases[name, fold]

    def _select(self, experiment: Experiment, keep: bool = True) -> Selection:
        """Prove that the store serves the experiment; with `keep`, remember its roles, which are the same for all arms."""
        fold = experiment.data.fold
        if keep and fold in self.selections:
            return self.selections[fold]
        bare = experiment.model_copy(update={"synthetic": None})
        selection = select(self.store, bare)
        if keep:
            self.selections[fold] = selection
        return selection


def _learnt_by(variant: Variant, classes: set[str]) -> set[str]:
    """Return those of the task's classes that a generator of this variant learns."""
    if variant == "melanoma_only":
        return classes & {POSITIVE}
    return classes - {POSITIVE} if variant == "without_melanoma" else classes


def _photographs(uri: str) -> Store:
    store = open_store(uri)
    if store.manifest.kind != "rgb":
        raise ConfigError(
            f"rgb = {uri} is a store of cubes, not of photographs", "Make one with `hyperderm ingest --layout photographs`."
        )
    return store


def _check_states(arm: Arm, generator: Job) -> None:
    """Prove that a generator has another state than its best one."""
    assert generator.experiment is not None
    if generator.experiment.learner.fit_once:
        raise ConfigError(
            f"checkpoints names {arm.checkpoint}, and {generator.model} has one state: it is fitted at once",
            "Leave checkpoints out, or give such generators a grid of their own.",
        )


def _check_batch(whose: str, experiment: Experiment, train: int, workers: int) -> None:
    """Prove that the train role fills a batch (no arm has a shorter epoch) and that the workers share a batch evenly."""
    if experiment.training.batch_size % workers:
        raise ConfigError(
            f"{whose}training.batch_size = {experiment.training.batch_size} is not divisible by resources.workers = "
            f"{workers}",
            f"Use a multiple of {workers}, or other --set resources.workers.",
        )
    if experiment.training.batch_size > train:
        raise ConfigError(
            f"{whose}training.batch_size = {experiment.training.batch_size} is larger than the train role of fold "
            f"{experiment.data.fold} ({train} cubes)",
            f"Use {train} or less, or more data.",
        )


def winner(folder: Path, fold: int, manifest: str, experiment: str) -> dict[str, Any]:
    """Return the swept values (configuration path to value) of the best trial (`ranks.winner`) of the sweep in `folder`.

    Raises:
        StudyError: the folder holds no sweep, the sweep has no finished trial, or it searched another manifest, experiment
            or fold. The choice of a sweep of another fold has seen lesions that `fold` holds back.
    """
    try:
        known = json_of((folder / IDENTITY).read_text("utf-8"))["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(f"{folder} is no sweep's folder", "Give one made by `hyperderm sweep`.") from None
    if known.get("manifest") != manifest:
        raise StudyError(
            f"the sweep in {folder} searched store {str(known.get('manifest'))[:12]}, not this one ({manifest[:12]})",
            "Search on this store, or leave it out of searches.",
        )
    if known.get("data.fold") != fold:
        raise StudyError(
            f"the sweep in {folder} searched fold {known.get('data.fold')}; its winner has seen lesions that "
            f"fold {fold} holds back",
            f"Run one sweep per fold (--set data.fold={fold} --name …), or leave fold {fold} out of searches.",
        )
    if known.get("name") != experiment:
        raise StudyError(
            f"the sweep in {folder} searched {known.get('name')!r}, not {experiment!r}", "Name a sweep of that generator."
        )
    from hyperderm.studies import ranks
    from hyperderm.studies.study_file import read_study

    if not (folder / STUDY).exists():
        raise StudyError(f"the sweep in {folder} has no trial yet", "Let it finish first.")
    best = ranks.winner(read_study(folder / STUDY))
    if best is None:
        raise StudyError(f"the sweep in {folder} has no finished trial", "Let it finish first.")
    return dict(best.params)
