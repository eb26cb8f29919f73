"""Make a synthetic set from a larger one: keep some of its cubes, or give them what of train they lack."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperderm.errors import ConfigError, StudyError
from hyperderm.strict import parse
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.store.manifest import Manifest


def curate(
    pool: str,
    store: str,
    count: int,
    *,
    real: str,
    keep: str | None = None,
    match: str | None = None,
    named: str | None = None,
    diagnoses: Sequence[str] = (),
    drawn: int | None = None,
    seed: int = 0,
) -> "Manifest":
    """Write a set that is chosen from a larger synthetic set, or matched to train, and return its manifest.

    Args:
        pool: URI of a synthetic set as `generate` writes it.
        store: where the new set goes; nothing may be there yet.
        count: number of cubes of each diagnosis that are kept.
        real: URI of the store on whose train role the generator of the pool was trained.
        keep: which cubes are kept, see `store.curated.Curation`: random, judge, confidence, copies or all; None: the first.
        match: what of train the cubes are given: moments, noise or both; None: nothing.
        named: the diagnosis that all cubes are called, for a negative control; None: their own.
        diagnoses: the diagnoses of the pool that are taken; none: all of them.
        drawn: number of cubes of each diagnosis among which is chosen; None: all that the pool holds.
        seed: seed of choices at random and of added noise.

    Raises:
        HyperdermError: an error that the user can correct. Nothing is left behind.
    """
    from hyperderm.store.curated import Curation
    from hyperderm.store.reader import open_store
    from hyperderm.store.s3 import vacant
    from hyperderm.studies.curation import curate as write

    workspace = Workspace.here()
    try:
        curation = parse(Curation, {"keep": keep, "match": match, "named": named})
    except ConfigError as error:
        raise StudyError(f"curate: {error.what}", "`hyperderm curate --help` has the words.") from None
    vacant(store)
    opened = open_store(pool)
    held = opened.manifest.diagnoses
    for diagnosis in diagnoses:
        if diagnosis not in held:
            raise StudyError(f"--diagnosis {diagnosis}", f"{pool} holds {', '.join(sorted(held))}.")
    chosen = list(diagnoses) or sorted(held)
    counts = dict.fromkeys(chosen, count)
    among = {name: held[name] if drawn is None else drawn for name in chosen}
    manifest = write(open_store(real), opened, store, curation, counts, among, seed)
    _tell(workspace, store, manifest)
    return manifest


def _tell(workspace: Workspace, uri: str, manifest: "Manifest") -> None:
    from hyperderm.store.synthetic import origin_of
    from hyperderm.workflows.run_tracking import audit_notes

    origin = origin_of(manifest)
    assert origin is not None
    assert origin.curated is not None
    said = origin.curated
    made = ", ".join(f"{count} {name}" for name, count in origin.requested.items())
    drawn = ", ".join(f"{count} {name}" for name, count in said.drawn.items())
    workspace.say(
        f"{made} in {uri}, fingerprint {manifest.fingerprint}",
        f"from {drawn} of the set {said.pool[:12]}: {', '.join(f'{k}={v}' for k, v in said.model_dump()['asked'].items())}",
        *([f"left out as copies of train lesions: {said.copies}"] if said.asked.keep in ("copies", "all") else []),
        *([f"values set to the ends of train's range: {said.clipped:.2%}"] if said.asked.match else []),
        *audit_notes(manifest),
    )
