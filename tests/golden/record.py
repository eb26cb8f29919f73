"""What fixed seeds give on a CPU: scores, weights, cubes, predictions, tables. A refactoring shows that they stay.

`python -m tests.golden.record FILE` writes the whole record as JSON, `… --against FILE` compares with one. The short runs of
it are compared with `numbers.json`, or its like for another kind of processor, in every `make test`.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from hyperderm.config import Experiment
from hyperderm.metric_groups import SYSTEM, ungrouped
from hyperderm.phantom.rendering import phantom
from hyperderm.store.reader import Store, open_store
from hyperderm.store.writer import write_store
from hyperderm.studies.synthesis import generate_here
from hyperderm.training.checkpoint import BEST
from hyperderm.training.context import local
from hyperderm.training.run import run
from hyperderm.training.selection import read, select
from tests.golden.runs import GENERATED, RUNS
from tests.services import grids

CLOCKS = {"images_per_second", "seconds_per_step"}
TABLES = ("arms", "contrasts", "undeclared", "counts", "diagnoses", "cells", "hardest")
"""The report's CSV files without clocks and hashes."""
COLUMNS = ("lesion_id", "fold", "seed", "arm", "model", "probability", "raw_probability", "threshold")
"""Of the predictions, all but the cell's key."""


def machine() -> str:
    """Return what decides the last digits: processor, instruction set and torch."""
    return f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def _processor() -> str:
    """Return the model of the processor: makes of one instruction set round otherwise."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text("utf-8").splitlines() if facts.exists() else []
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return found or f"{platform.machine()} {platform.processor()}"


def data(folder: Path) -> Store:
    """Return a store of 90 phantom lesions at 32 px with 3 folds."""
    place = folder / "phantom"
    write_store(str(place), (one.lesion for one in phantom(90, 32, 0)), fold_count=3, seed=0)
    return open_store(str(place))


def trained(experiment: Experiment, store: Store, folder: Path) -> dict[str, Any]:
    """Return the scores of every report of a run, and the hash of its last state's numbers."""
    provenance = {"hyperderm.manifest": store.manifest.fingerprint, "hyperderm.fold": "0"}
    going = run(experiment, read(store, select(store, experiment), experiment), local(folder, provenance))
    reports: list[object] = []
    while True:
        try:
            report = next(going)
        except StopIteration as end:
            return {"reports": reports, "weights": weights(end.value.state_dict())}
        bare = {ungrouped(name): value for name, value in report.metrics.items() if not name.startswith(SYSTEM)}
        reports.append([report.images, {k: v for k, v in sorted(bare.items()) if k not in CLOCKS}])


def weights(state: object) -> str:
    """Return the sha256 of the tensors and arrays in a nested state, in the order of their names."""
    digest = hashlib.sha256()
    for name, values in sorted(_leaves(state, "")):
        digest.update(f"{name.rpartition('.')[2]} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _leaves(state: object, name: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(state, Tensor):
        yield name, state.detach().cpu().numpy()
    elif isinstance(state, np.ndarray):
        yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _leaves(value, f"{name}.{key}")
    elif isinstance(state, list | tuple):
        for place, value in enumerate(state):
            yield from _leaves(value, f"{name}.{place}")


def generated(store: Store, checkpoint: Path, place: Path) -> dict[str, Any]:
    """Return the hash of a generated set's cubes, and their mean spectrum."""
    generate_here(store, checkpoint, str(place), counts=GENERATED, seed=3)
    cubes = open_store(str(place)).read(open_store(str(place)).index().column("lesion_id").to_pylist())
    values = cubes.column("cube").combine_chunks().to_numpy_ndarray()
    return {
        "cubes": hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest(),
        "spectrum": values.mean((0, 1, 2), dtype=np.float64).tolist(),
    }


def short(folder: Path) -> dict[str, Any]:
    """Return the record of single runs and of a set, in seconds."""
    store = data(folder)
    found: dict[str, Any] = {name: trained(made(), store, folder / name) for name, made in RUNS.items()}
    return found | {"generated": generated(store, folder / "shsgan" / BEST, folder / "set")}


def grid(folder: Path) -> dict[str, Any]:
    """Return hashes of the predictions and tables of a small grid, run as a user runs it."""
    data(folder)
    project = grids.make_project(folder / "project")
    uri = f"sqlite:///{project / 'mlflow.db'}"
    flags = ("--set", "folds=[0]")
    grids.finish(grids.start(project, folder / "phantom", uri, *flags), 0, 900)
    made = project / "runs" / grids.NAME
    table = pq.read_table(made / "predictions.parquet", columns=list(COLUMNS)).sort_by([(c, "ascending") for c in COLUMNS])
    tables = {name: _sha256((made / "report" / f"{name}.csv").read_bytes()) for name in TABLES}
    return {"predictions": _sha256(json.dumps(table.to_pydict()).encode()), "tables": tables}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def differences(was: object, now: object, at: str = "", same: Callable[[float, float], bool] = float.__eq__) -> list[str]:
    """Return where two records differ."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        names = sorted({*was, *now})
        return [d for n in names for d in differences(was.get(n), now.get(n), f"{at}/{n}", same)]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [d for n, (a, b) in enumerate(zip(was, now, strict=True)) for d in differences(a, b, f"{at}/{n}", same)]
    equal = same(was, now) if isinstance(was, float) and isinstance(now, float) else was == now
    return [] if equal else [f"{at}: {was} -> {now}"]


def main() -> int:
    """Write the record, or compare with one; the exit code says whether they are equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--short", action="store_true", help="without the grid")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = {"machine": machine(), "short": short(Path(folder) / "short")}
        if not options.short:
            found["grid"] = grid(Path(folder) / "grid")
    if options.file:
        options.file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if options.against is None:
        return 0
    was = json.loads(options.against.read_text("utf-8"))
    said = differences({k: was.get(k) for k in found}, found)
    print("\n".join(said) or "equal")
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main())
