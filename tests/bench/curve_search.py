"""Is there a setting with which the learning curve of real lesions rises? Searched on one half of a store's groups.

    python -m tests.bench.curve_search STORE [--half 0] [--settings spectral_10 cnn_32 …] [--concurrent 2]

The groups of each diagnosis are dealt in turn to two halves, so that what is found on one half can be tried on the other,
which the search has not seen. A half becomes a store of its own with five folds. For every setting the grid of real cubes
alone (`real@0.25`, `real@0.5`, `real`, two seeds) is planned, run and judged by the functions that `hyperderm ablation`
calls. A line for each setting says the AUROC at each share, the slope of the curve per doubling with its 95 % interval, the
verdict of the report, and how long it took.

A setting that "would help" by luck alone is found in one of forty searches of a flat curve, so the best of a search counts
only when the other half says the same.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from hyperderm.cluster.session import Cluster, connect, quiet_ray
from hyperderm.config import TrainingConfig
from hyperderm.errors import HyperdermError
from hyperderm.grid_config import Ablation, Model, Resources
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.spectral_baseline import SpectralConfig
from hyperderm.settings import TaskConfig
from hyperderm.store.reader import Store, open_store
from hyperderm.store.writer import write_store
from tests.bench.grid_run import judged

FOLDS, SEEDS, SHARES = 5, (0, 1), (0.25, 0.5)
AT_ONCE = TrainingConfig(batch_size=16, images=16, validate_every=16)


def _network(images: int, **learner: object) -> Model:
    steps = TrainingConfig(batch_size=16, images=images, validate_every=images // 10)
    return Model(learner=ClassifierConfig.model_validate({"lr": 1e-3, **learner}), training=steps)


SETTINGS: dict[str, tuple[int, Model]] = {
    **{f"spectral_{p:g}": (32, Model(learner=SpectralConfig(penalty=p), training=AT_ONCE)) for p in (0.1, 1.0, 10.0, 100.0)},
    "cnn_16": (16, _network(12_000)),
    "cnn_32": (32, _network(12_000)),
    "cnn_32_long": (32, _network(48_000)),
    "cnn_32_slow": (32, _network(12_000, lr=1e-4)),
    "cnn_64": (64, _network(12_000)),
    "lite0_32": (32, _network(3_200, architecture="efficientnet_lite0", weights="imagenet", lr=1e-4)),
    "lite0_64": (64, _network(3_200, architecture="efficientnet_lite0", weights="imagenet", lr=1e-4)),
}
"""Name to the side of the cubes in pixels and the classifier; spectral_10 and cnn_32 are those of the small profile."""


def halved(store: Store, half: int, place: Path) -> Store:
    """Write the lesions of every second group of each diagnosis to `place` and return that store.

    A group goes where its first diagnosis, by the order of names, sends it.
    """
    of: dict[str, set[str]] = defaultdict(set)
    for row in store.index().to_pylist():
        of[row["group"]].add(row["diagnosis"])
    by_diagnosis: dict[str, list[str]] = defaultdict(list)
    for group in sorted(of):
        by_diagnosis[min(of[group])].append(group)
    kept = {group for groups in by_diagnosis.values() for group in groups[half::2]}
    rows = store.index().to_pylist()
    names = {row["lesion_id"] for row in rows if row["group"] in kept}
    write_store(str(place), (each for each in store.lesions() if each.lesion_id in names), fold_count=FOLDS, seed=0)
    return open_store(str(place))


def asked_of(name: str, concurrent: int) -> Ablation:
    """Return the grid of one setting."""
    size, model = SETTINGS[name]
    return Ablation(
        name="curve_search", profile="small", size=size, task=TaskConfig(negatives="all_others"), arms=("real",),
        curve=SHARES, seeds=SEEDS, generators=(), models=(name,), classifiers={name: model},
        resources=Resources(concurrent=concurrent),
    )  # fmt: skip


def tried(name: str, store: Store, folder: Path, cluster: Cluster, concurrent: int) -> str:
    """Run the curve of one setting and return its line."""
    began = time.monotonic()
    outcome = judged(asked_of(name, concurrent), store, {}, folder, cluster, f"curve_search-{name}")
    (curve,) = outcome.analysis.curves
    value, low, high = curve.slope.bounds
    levels = ", ".join(f"{each.arm} {each.metrics['auroc'].value:.3f}" for each in outcome.analysis.arms)
    spent = time.monotonic() - began
    return f"{name:<14} {value:+.3f} [{low:+.3f}, {high:+.3f}] a doubling: {curve.usefulness}; {levels}; {spent:.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", help="a store of labelled cubes with groups enough for five folds in each half")
    parser.add_argument("--half", type=int, choices=(0, 1), default=0)
    parser.add_argument("--settings", nargs="+", choices=tuple(SETTINGS), default=tuple(SETTINGS))
    parser.add_argument("--concurrent", type=int, default=2, help="jobs at a time")
    asked = parser.parse_args()
    quiet_ray()  # before the imports that import Ray
    from hyperderm.studies.ablation.plan import make_plan

    with connect(None) as cluster, tempfile.TemporaryDirectory() as place:
        half = halved(open_store(asked.store), asked.half, Path(place) / "half")
        counts = ", ".join(f"{count} {name}" for name, count in sorted(half.manifest.diagnoses.items()))
        print(f"half {asked.half}: {counts}", flush=True)
        for name in asked.settings:  # what cannot run is refused before the first setting has taken its time
            make_plan(asked_of(name, asked.concurrent), half, {})
        for name in asked.settings:
            folder = Path(place) / name
            folder.mkdir()
            print(tried(name, half, folder, cluster, asked.concurrent), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HyperdermError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
