"""Make synthetic sets from a checkpoint, on any number of Ray Data workers or in this process, with the same result.

Each cube is made by its index (`learners.synthesis`), and cubes are decided on and written in the order of their indices. A
cube that is out of range is left out, and so is a copy where copies are rejected; the next index takes its place. Neither a
cube nor the fingerprint of the store depends on which worker makes the cube.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from hyperderm.cubes.diagnosis import DIAGNOSES
from hyperderm.errors import ClusterError, ConfigError, StudyError
from hyperderm.identity import shaping
from hyperderm.learners.base import Sampler
from hyperderm.learners.data import CubeSet
from hyperderm.learners.sources import Sources, matched
from hyperderm.learners.spec import FREELY, SOURCED, Condition, Drawing, Request
from hyperderm.metrics.orientation import restore
from hyperderm.store.manifest import Manifest
from hyperderm.store.reader import Store
from hyperderm.store.synthetic import Rejectable, SyntheticCube, SyntheticOrigin, write_synthetic
from hyperderm.strict import fingerprint
from hyperderm.studies.photograph_audit import audit_of
from hyperderm.studies.set_audit import Maker, Match, SetAudit, groups_of
from hyperderm.training.data import cube_set
from hyperderm.training.drawn_cubes import CHUNK, MOST, STRIDE, CheckpointSampler, Tally, chunks
from hyperderm.training.inputs import seen_of
from hyperderm.training.named_checkpoints import fold_of, read_checkpoint
from hyperderm.training.photographs import check_unrelated, photographs_of
from hyperderm.training.run import load_sampler

if TYPE_CHECKING:
    from hyperderm.cluster.session import Cluster

Progress = Callable[[int, int], None]
"""A function that is called with the number of cubes written and the number of cubes in all."""
Made = Iterator[tuple[int, NDArray[np.float32]]]
"""Pairs of an index and its cube (B, H, W), in the order of the request."""


def generate(
    store: Store,
    checkpoint: Path | str,
    uri: str,
    *,
    counts: Mapping[str, int],
    workers: int,
    cluster: "Cluster",
    seed: int = 0,
    rgb: Store | None = None,
    reject: Rejectable | None = None,
    drawing: Drawing = FREELY,
    progress: Progress = lambda done, total: None,
) -> Manifest:
    """Write a synthetic set to `uri`; `workers` Ray Data actors on the connected cluster make its cubes.

    Args:
        store: the real store the generator was trained on.
        checkpoint: path or `s3://` address of the generator's checkpoint; only this process reads it.
        uri: where the set is written; the place must be empty.
        counts: diagnosis to number of cubes.
        workers: number of actors; each uses one CPU and, if the cluster has GPUs, one GPU or a share of one.
        cluster: the connected cluster.
        seed: the seed of the set; another seed gives another set.
        rgb: photographs to make cubes from; if None, RGB generators use the RGB of the train role, and the set is derived.
        reject: "copies": cubes that the audit calls copies are left out like cubes out of range.
        drawing: how a generator from noise draws it.
        progress: is called as cubes are written.

    Raises:
        StudyError: a checkpoint, diagnosis or count that cannot be served, photographs that do not fit, or a generator more
            than half of whose cubes are left out. StoreError: the store is not the generator's, or the place is
            taken. ClusterError: there are more workers than CPUs. After an error nothing is left behind.
    """
    if workers > cluster.cpus:
        raise ClusterError(f"--workers {workers}: the cluster has {cluster.cpus:g} CPU", "Give as many workers at most.")
    from hyperderm.cluster.cube_workers import made_by_workers

    job = _prepare(store, checkpoint, counts, seed, rgb, "cuda" if cluster.gpus else "cpu", reject, drawing)
    share = 1 / -(-workers // cluster.gpus) if cluster.gpus else 0.0
    made = made_by_workers(job.synthesiser(), workers, share)
    return _write(job, uri, lambda rounds: made(list(chunks(rounds))), progress)


def generate_here(
    store: Store,
    checkpoint: Path | str,
    uri: str,
    *,
    counts: Mapping[str, int],
    seed: int = 0,
    rgb: Store | None = None,
    reject: Rejectable | None = None,
    drawing: Drawing = FREELY,
    progress: Progress = lambda done, total: None,
) -> Manifest:
    """Write the same set as `generate`, but in this process and without Ray; for one worker, and inside trials."""
    job = _prepare(store, checkpoint, counts, seed, rgb, "cuda" if torch.cuda.is_available() else "cpu", reject, drawing)
    synthesiser = job.synthesiser()
    synthesiser.load()

    def made(rounds: list[range]) -> Made:
        for chunk in chunks(rounds):
            yield from zip(chunk, synthesiser.make(chunk), strict=True)

    return _write(job, uri, made, progress)


@dataclass(frozen=True)
class _Job:
    checkpoint: Mapping[str, Any]
    sampler: Sampler
    sources: Mapping[str, Sources | None]
    origin: SyntheticOrigin
    audit: SetAudit
    drawing: Drawing

    def synthesiser(self) -> CheckpointSampler:
        return CheckpointSampler(self.checkpoint, self.sources, self.origin.seed, self.origin.device, self.drawing)


def _prepare(
    store: Store,
    checkpoint: Path | str,
    counts: Mapping[str, int],
    seed: int,
    rgb: Store | None,
    device: str,
    reject: Rejectable | None,
    drawing: Drawing,
) -> _Job:
    """Prove that all arguments fit together; read the generator's training cubes and the cubes held back from it."""
    state, digest = read_checkpoint(checkpoint)
    sampler = load_sampler(state)
    fold = fold_of(state, store)
    data = sampler.run.data
    every = tuple(store.manifest.diagnoses) if data.diagnoses == "all" else data.diagnoses
    learnt = sampler.classes or every
    _check_counts(counts)
    seen = seen_of(state, store)  # also what its inputs saw: a cube may be a copy of that
    train = cube_set(store.read(store.select("train", fold, seen)), data.size)
    condition = sampler.config.condition
    held = {name: len(_rows(train, name, condition)) for name in counts}
    if rgb is not None and condition == "rgb":
        held = {name: len(photographs_of(rgb, name, data.size)) for name in counts}
    try:
        sampler.config.check_request(Request(counts, learnt, held, rgb is not None, drawing, data.size))
    except ConfigError as error:
        raise StudyError(error.what, error.remedy) from None
    if rgb is not None:
        check_unrelated(store, rgb, rgb.index().column("lesion_id").to_pylist(), fold, "--rgb")
    sources = {diagnosis: _sources(sampler, train, diagnosis, rgb) for diagnosis in counts}
    derived = condition in SOURCED and rgb is None
    held_out = _held_out(store, fold, counts, learnt, data.size)
    return _Job(
        state,
        sampler,
        sources,
        SyntheticOrigin(
            generator=sampler.config.kind,
            run=str(state["provenance"].get("run", "")),
            checkpoint=digest,
            experiment=fingerprint(shaping(sampler.run)),
            manifest=store.manifest.fingerprint,
            fold=fold,
            seed=seed,
            requested=dict(counts),
            derived=derived,
            rgb=rgb.manifest.fingerprint if rgb else None,
            device=device,
            reject=reject,
            truncation=drawing.truncation,
            mix=drawing.mix,
            guidance=drawing.guidance,
        ),
        SetAudit(
            train,
            held_out,
            groups_of(store),
            sampler.wavelengths_nm,
            counts,
            derived=derived,
            maker=_maker(sampler, seed),
            unjudged=f"this generator makes cubes from {sampler.config.made_from}, not from the pseudo-RGB",
            photographs=audit_of(state, store, train, held_out),
        ),
        drawing,
    )


def _maker(sampler: Sampler, seed: int) -> Maker | None:
    """Return the generator for the audit of a derived set; None if it does not make cubes from pseudo-RGB."""
    if sampler.config.condition != "rgb" or sampler.matrix is None:
        return None

    def make(lesions: CubeSet) -> torch.Tensor:
        levels = sampler.sources(lesions)
        assert levels is not None
        given, indices = Sources(lesions.lesion_ids, levels.astype(np.float32)), list(range(len(lesions)))
        made = sampler.sample(seed, indices, given.draw(seed, indices))
        found = torch.empty_like(made)
        for cube, index in zip(made, indices, strict=True):
            row, orientation = given.place(seed, index)
            found[row] = restore(cube, orientation)
        return found

    return Maker(sampler.matrix, make)


def _held_out(store: Store, fold: int, counts: Mapping[str, int], learnt: tuple[str, ...], size: int) -> CubeSet:
    """Return the validation cubes of the requested diagnoses, or of all learnt ones if validation holds none of these."""
    held = store.index().to_pylist()
    roles = {row["diagnosis"] for row in held if store.folds().role(row["group"], fold) == "validation"}
    wanted = [name for name in counts if name in roles] or [name for name in learnt if name in roles]
    return cube_set(store.read(store.select("validation", fold, wanted)), size)


def _check_counts(counts: Mapping[str, int]) -> None:
    if not counts:
        raise StudyError("no diagnosis is asked for", "Name one: --diagnosis melanoma.")
    for count in counts.values():
        if not 1 <= count <= MOST:
            raise StudyError(f"--count {count}", f"Ask for 1 … {MOST} cubes.")


def _sources(sampler: Sampler, train: CubeSet, diagnosis: str, rgb: Store | None) -> Sources | None:
    """Return the train role's sources of one diagnosis, or photographs matched to them; None if the generator needs none."""
    size, condition = sampler.run.data.size, sampler.config.condition
    if condition not in SOURCED:
        return None
    lesions = train.chosen(_rows(train, diagnosis, condition))
    if not len(lesions):
        raise StudyError(
            f"the train role of this generator's fold holds no {diagnosis} to take the RGB of or to match photographs to",
            "Ask for another --diagnosis.",
        )
    own = sampler.sources(lesions)
    assert own is not None
    if rgb is None:
        return Sources(lesions.lesion_ids, own.astype(np.float32))
    photographs = cube_set(rgb.read(photographs_of(rgb, diagnosis, size)), size)
    linear = photographs.reflectance.numpy()[:, ::-1]  # stored by rising wavelength: B, G, R
    return Sources(photographs.lesion_ids, matched(linear, own))


def _rows(train: CubeSet, diagnosis: str, condition: Condition) -> list[int]:
    """Return the rows of a diagnosis that can be sources; if the condition is a mask, only rows that have one."""
    rows = [row for row, name in enumerate(train.diagnoses) if name == diagnosis]
    return [row for row in rows if train.masks[row].any()] if condition == "mask" else rows


def _write(job: _Job, uri: str, make: Callable[[list[range]], Made], progress: Progress) -> Manifest:
    tally = Tally.of(job.origin.requested)

    def finish() -> dict[str, Any]:
        return {
            "rejected": sum(tally.out_of_range.values()),
            "rejected_copies": sum(tally.copies.values()),
            "audit": job.audit.result(),
        }

    cubes = _audited(_accepted(job, make, tally), job.audit, sum(job.origin.requested.values()), progress)
    return write_synthetic(uri, cubes, job.sampler.wavelengths_nm, job.origin, finish)


def _accepted(job: _Job, make: Callable[[list[range]], Made], tally: Tally) -> Iterator[tuple[SyntheticCube, Match]]:
    """Yield the first cubes of each diagnosis that are not left out, with their matches, and count all cubes.

    More cubes are made until there are enough.
    """
    while rounds := tally.rounds(job.sources):
        for index, pixels in make(rounds):
            diagnosis = DIAGNOSES[index // STRIDE]
            if not tally.in_range(diagnosis, pixels, job.sampler.scaling):
                continue
            cube = SyntheticCube(index, np.moveaxis(pixels, 0, 2), diagnosis, _facts(job, diagnosis, index))
            match = job.audit.match(cube)
            if job.origin.reject and job.audit.reject(match):
                tally.copy(diagnosis)
                continue
            tally.done[diagnosis] += 1
            yield cube, match


def _facts(job: _Job, diagnosis: str, index: int) -> dict[str, Any]:
    sources = job.sources[diagnosis]
    if sources is None:
        return {}
    chosen, orientation = sources.place(job.origin.seed, index % STRIDE)
    return {"derived_from" if job.origin.derived else "photograph": sources.names[chosen], "orientation": orientation}


def _audited(
    cubes: Iterator[tuple[SyntheticCube, Match]], audit: SetAudit, total: int, progress: Progress
) -> Iterator[SyntheticCube]:
    """Pass the cubes on, and add them with their matches to the audit in chunks."""
    waiting: list[tuple[SyntheticCube, Match]] = []
    for done, each in enumerate(cubes, 1):
        waiting.append(each)
        if len(waiting) == CHUNK or done == total:
            audit.add([cube for cube, _ in waiting], [match for _, match in waiting])
            waiting.clear()
            progress(done, total)
        yield each[0]
