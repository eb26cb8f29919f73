"""Make a synthetic set with a trained generator."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hyperderm.errors import StoreError, StudyError
from hyperderm.workflows.workspace import Workspace

if TYPE_CHECKING:
    from hyperderm.learners.spec import Drawing
    from hyperderm.store.manifest import Manifest
    from hyperderm.store.synthetic import Rejectable


def generate(
    store: str,
    counts: Mapping[str, int],
    *,
    run: str | None = None,
    checkpoint: str | None = None,
    seed: int = 0,
    rgb: str | None = None,
    source_store: str | None = None,
    workers: int = 1,
    reject: str | None = None,
    mix: bool = False,
    truncation: float | None = None,
    guidance: float | None = None,
    mat: Path | None = None,
    runs: Path | None = None,
) -> "Manifest":
    """Write a synthetic set from a trained generator, and return its manifest.

    Args:
        store: where the set goes; nothing may be there yet.
        counts: diagnosis to number of cubes, such as `{"melanoma": 300}`.
        run: a run or sweep, by name or path; its best checkpoint is taken.
        checkpoint: a checkpoint file or `s3://` address, in place of `run`.
        seed: another seed is another set.
        rgb: URI of a store of photographs that new lesions are made from.
        source_store: the store that the generator was trained on, if it was moved since.
        workers: Ray Data workers; 1: this process, without Ray.
        reject: "copies": cubes that the memorisation audit calls copies are left out and others made in their place.
        mix: whether the style of each cube comes from a second noise; only for generators that have styles.
        truncation: the largest absolute value of the noise; None: no limit. Only for generators from noise.
        guidance: of a diffusion generator that learnt to do without the diagnosis (`learner.class_dropout`): above 1, cubes
            are more typical of their diagnosis; None: that of its configuration.
        mat: a new folder for the cubes as `.mat` files in HSIDermoscopy's layout; None: no such files.
        runs: where runs are kept; None: `runs/` of the project.

    Raises:
        HyperdermError: an error that the user can correct. Nothing is left behind.
    """
    from hyperderm.learners.spec import Drawing
    from hyperderm.store.synthetic import check_rejectable

    workspace = Workspace.here()
    left_out, drawing = check_rejectable(reject), Drawing(truncation, mix, guidance)
    for count in counts.values():
        if count < 1:
            raise StudyError(f"--count {count}", "Ask for at least 1 cube.")
    if (run is None) == (checkpoint is None):
        raise StudyError("one of --run and --checkpoint is needed", "Give one: a run, or a file it left.")
    path = checkpoint or _of_run(workspace, str(run), workspace.runs(runs))
    _check_free(store, mat)
    manifest = _generate(workspace, store, path, dict(counts), seed, rgb, source_store, workers, left_out, drawing)
    _tell(workspace, store, manifest)
    if mat:
        from hyperderm.store.export import export_store
        from hyperderm.store.reader import open_store

        workspace.say(f"{export_store(open_store(store), mat, 'mat')} lesions in {mat}")
    return manifest


def _of_run(workspace: Workspace, run: str, runs: Path) -> Path | str:
    from hyperderm.studies.named_runs import checkpoint_of_run

    path, name = checkpoint_of_run(run, runs)
    workspace.say(f"checkpoint of {name}: {path}")
    return path


def _check_free(store: str, mat: Path | None) -> None:
    """Refuse places that already hold files, before any cube is made."""
    from hyperderm.store.s3 import vacant

    vacant(store)
    if mat is not None and mat.exists():
        raise StoreError(f"--mat {mat}: something is already there", "Choose another place, or remove it first.")


def _generate(
    workspace: Workspace,
    uri: str,
    checkpoint: Path | str,
    counts: dict[str, int],
    seed: int,
    rgb: str | None,
    source_store: str | None,
    workers: int,
    reject: "Rejectable | None",
    drawing: "Drawing",
) -> "Manifest":
    from hyperderm.cluster.session import connect, quiet_ray, workers_found
    from hyperderm.reports.progress import counting
    from hyperderm.store.reader import open_store

    quiet_ray()
    from hyperderm.studies.synthesis import generate, generate_here
    from hyperderm.training.named_checkpoints import read_checkpoint
    from hyperderm.workflows.find_store import source_of

    real = source_of(read_checkpoint(checkpoint)[0], source_store, "generator")
    photographs = open_store(rgb) if rgb else None
    with counting(workspace.console, "generating") as bar:
        task = bar.add_task("", total=sum(counts.values()))

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done)

        if workers == 1:
            return generate_here(
                real,
                checkpoint,
                uri,
                counts=counts,
                seed=seed,
                rgb=photographs,
                reject=reject,
                drawing=drawing,
                progress=told,
            )
        with connect(workspace.ray_address) as cluster:
            if workspace.ray_address:
                workspace.say(workers_found())
            return generate(
                real,
                checkpoint,
                uri,
                counts=counts,
                seed=seed,
                rgb=photographs,
                reject=reject,
                drawing=drawing,
                progress=told,
                workers=workers,
                cluster=cluster,
            )


def _tell(workspace: Workspace, uri: str, manifest: "Manifest") -> None:
    from hyperderm.store.synthetic import origin_of
    from hyperderm.workflows.run_tracking import audit_notes

    origin = origin_of(manifest)
    assert origin is not None
    made = ", ".join(f"{count} {name}" for name, count in origin.requested.items())
    workspace.say(
        f"{made} in {uri}, fingerprint {manifest.fingerprint}",
        f"generator {origin.generator}, checkpoint {origin.checkpoint[:12]}, fold {origin.fold}, seed {origin.seed}",
        f"rejected because out of range: {origin.rejected}",
        *([f"rejected because copies of train lesions: {origin.rejected_copies}"] if origin.reject else []),
        *audit_notes(manifest),
    )
    if origin.derived:
        workspace.say("For new lesions give --rgb.")
