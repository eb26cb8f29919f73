"""Every generator trained for the same processor time on the same melanomas, over several seeds: one table, one picture.

    python -m tests.bench.generator_quality STORE OUT [--seconds 300] [--seeds 3] [--names dcgan vae …] [--classes]
        [--set learner.kl_weight=0.01 …]

Time is that of one thread, as the processor counts it, so that other programs do not change it; validation is not counted.
As in `hyperderm train`, the moment with the lowest distance to the validation melanomas is kept, here of twenty. Everything
else is measured on the melanomas of the test role, which nothing was chosen by: the spectral energy distance to them,
untrained and trained; their coverage; what real train cubes reach in both, in as many cubes. Beside it: cubes that the
memorisation audit calls copies, AUROC of told-from-real, and the number of images shown until the kept moment.
With --classes, the generators that can be told the diagnosis learn all diagnoses and are asked for melanoma; the held-out
cubes are melanomas all the same. With --set, settings differ from those of the experiments: give each choice an OUT of its
own, because a row that OUT/generators.csv holds already is not made again.
"""

import argparse
import csv
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from hyperderm import registry
from hyperderm.config import Experiment
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.spec import SOURCED
from hyperderm.metrics.manifold import coverage
from hyperderm.metrics.memorisation import Auditor, Reference
from hyperderm.metrics.recognisability import Recogniser, Sample
from hyperderm.metrics.spectra import Standardiser, cube_features, energy_distance
from hyperderm.store.folds import POSITIVE
from hyperderm.store.reader import Store, open_store
from hyperderm.strict import parse_overrides
from hyperderm.tracking.figures import RealSet
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.data import cube_set, train_data
from hyperderm.training.selection import select
from hyperderm.training.stream import feed_of

CPU = torch.device("cpu")
DRAWS = 20
VALIDATIONS = 20
"""Number of validations of a run; the best moment is kept."""
FLOOR = "real train cubes"
MEAN = "mean train cube"


@dataclass(frozen=True)
class Row:
    """What one run came to."""

    name: str
    told: str
    seed: int
    seconds: float
    images: int
    kept: int
    untrained: float
    distance: float
    coverage: float
    copies: int
    audited: int
    told_from_real: float


def main() -> int:
    asked = _asked()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    store, path = open_store(asked.store), asked.out / "generators.csv"
    rows = _read(path)
    done = {(row.name, row.told, row.seed) for row in rows}
    told = "class" if asked.classes else "none"
    for seed in range(asked.seeds):
        for name in asked.names:
            experiment = configured(name, seed, asked.classes, asked.size)
            if experiment is None or (name, told, seed) in done:
                continue
            experiment = experiment.override(parse_overrides(asked.set))
            row, cubes = trained(experiment, roles_of(store, experiment), told, asked.seconds, asked.samples)
            rows.append(row)
            _write(path, rows)
            np.save(asked.out / f"{name}-{told}-{seed}.npy", cubes.numpy())
            print(" ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in asdict(row).values()))
    roles = roles_of(store, configured("dcgan", 0, False, asked.size))
    print(table(rows, roles, asked.samples))
    (asked.out / "generators.md").write_text(table(rows, roles, asked.samples), encoding="utf-8")
    picture(asked.out, roles, [row for row in rows if row.seed == 0])
    return 0 if passed(rows, roles, asked.samples) else 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--classes", action="store_true")
    parser.add_argument("--set", nargs="+", default=[])
    parser.add_argument("--names", nargs="+", default=generators())
    return parser.parse_args()


def generators() -> list[str]:
    """The experiments of generators, without the rungs of the ladder and without the one that needs another run's net."""
    left_out = ("ladder_", "colour_unmixing")
    names = [name for name in registry.names("experiments") if not name.startswith(left_out)]
    return [name for name in names if registry.experiment(name, "small").learner.role == "generator"]


def configured(name: str, seed: int, classes: bool, size: int) -> Experiment | None:
    """The small profile of an experiment; None if it cannot be told the class, or must be."""
    experiment = registry.experiment(name, "small")
    if "conditioning" not in type(experiment.learner).model_fields:
        if classes:
            return None
    elif classes:
        experiment = experiment.override({"learner.conditioning": "class", "data.diagnoses": "all"})
    elif experiment.learner.condition == "class":
        return None
    if not classes:
        experiment = experiment.override({"data.diagnoses": [POSITIVE]})
    return experiment.override({"seed": seed, "data.size": size, "training.precision": "fp32"})


@dataclass(frozen=True)
class Roles:
    """The train and validation roles of a run, and the melanomas of the test role."""

    data: TrainData
    held: CubeSet

    def melanomas(self, role: Literal["train", "validation", "test"]) -> Tensor:
        """Return the melanomas of a role, (n, B, S, S)."""
        cubes = {"train": self.data.train, "validation": self.data.validation, "test": self.held}[role]
        return cubes.chosen([row for row, name in enumerate(cubes.diagnoses) if name == POSITIVE]).reflectance


def roles_of(store: Store, experiment: Experiment) -> Roles:
    """Return the roles in memory."""
    chosen, size = select(store, experiment), experiment.data.size
    data = train_data(store.read(chosen.train), store.read(chosen.validation), store.manifest.wavelengths_nm, size)
    held = store.open_test(experiment.data.fold, [POSITIVE], lambda opening: None)  # stand-ins: nothing is published
    return Roles(data, cube_set(store.read(held), size))


def trained(
    experiment: Experiment,
    roles: Roles,
    told: str,
    seconds: float,
    samples: int,
    keep: Callable[[Any], None] = lambda learner: None,
) -> tuple[Row, Tensor]:
    """Train for some seconds of one thread, and score what the moving average makes of melanoma at its best moment.

    `keep` is given the learner in its last state.
    """
    with tempfile.TemporaryDirectory() as folder:
        context = Context(CheckpointFolder(Path(folder)), device=CPU)
        data = experiment.learner.in_space(experiment, roles.data)
        learner = experiment.learner.build(experiment, data, context.compute("fp32"))
        feed = feed_of(experiment, data, context)
        train = roles.data.train.diagnoses
        melanomas = [row for row, name in enumerate(train) if name == POSITIVE]
        condition = learner.condition(torch.tensor([melanomas[i % len(melanomas)] for i in range(samples)]))
        untrained = learner.sample(experiment.seed, range(samples), condition)
        images, spent, best = 0, 0.0, (math.inf, 0, untrained)
        print(f"{experiment.name} seed {experiment.seed}, distance to validation by moment:", end="", flush=True)
        for moment in range(1, VALIDATIONS + 1) if not experiment.learner.fit_once else (VALIDATIONS,):
            while spent < seconds * moment / VALIDATIONS:
                begin = time.process_time()
                learner.step(feed.batch(images))
                images, spent = images + experiment.training.batch_size, spent + time.process_time() - begin
                if experiment.learner.fit_once:  # it was fitted when it was built
                    break
            cubes = learner.sample(experiment.seed, range(samples), condition)
            distance, _ = scored(roles, cubes, "validation")
            print(f" {distance:.2f}", end="\n" if moment == VALIDATIONS else "", flush=True)
            if distance < best[0]:
                best = distance, images, cubes
    keep(learner)
    _, kept, cubes = best
    copies, told_apart = audited(roles, cubes)
    row = Row(
        experiment.name,
        told,
        experiment.seed,
        round(spent, 1),
        images,
        kept,
        scored(roles, untrained)[0],
        *scored(roles, cubes),
        copies,
        samples,
        told_apart,
    )
    return row, cubes


def scored(roles: Roles, cubes: Tensor, role: Literal["validation", "test"] = "test") -> tuple[float, float]:
    """Spectral energy distance to held-out melanomas, and coverage of them, in features standardised by train melanomas."""
    standardise = Standardiser(cube_features(roles.melanomas("train")))
    held, made = standardise(cube_features(roles.melanomas(role))), standardise(cube_features(cubes))
    return energy_distance(made, held), coverage(held, made)


def audited(roles: Roles, cubes: Tensor) -> tuple[int, float]:
    data, real = roles.data, roles.melanomas("train")
    auditor = Auditor(Reference(data.train.reflectance, roles.melanomas("validation"), data.train.lesion_ids))
    auditor.add(cubes)
    recogniser = Recogniser(Sample(real.numpy(), [str(i) for i in range(len(real))]), data.wavelengths_nm, len(cubes))
    recogniser.add(Sample(cubes.numpy(), [f"made {i}" for i in range(len(cubes))]))
    auroc = recogniser.result().auroc
    return len(auditor.result().copies), float("nan") if auroc is None else auroc


def references(roles: Roles, samples: int) -> dict[str, tuple[float, float]]:
    """What real train melanomas reach in as many cubes (a mean over draws), and what their mean cube does."""
    real = roles.melanomas("train")
    rng = np.random.default_rng(0)
    drawn = [scored(roles, real[rng.permutation(len(real))[:samples]]) for _ in range(DRAWS)]
    constant = real.double().mean(0, keepdim=True).float().expand(samples, -1, -1, -1)
    return {FLOOR: (mean(d for d, _ in drawn), mean(c for _, c in drawn)), MEAN: scored(roles, constant)}


def table(rows: list[Row], roles: Roles, samples: int) -> str:
    """The table, best distance first: mean ± standard deviation over seeds."""
    lines = [
        "| generator | told | seeds | seconds | images | kept at | untrained | distance | coverage | copies | told apart |",
        f"{'|---' * 11}|",
    ]
    for name, (distance, covered) in references(roles, samples).items():
        lines.append(f"| {name} | | | | | | | {distance:.3f} | {covered:.2f} | | |")
    for of in sorted(_grouped(rows), key=lambda of: mean(row.distance for row in of)):
        lines.append(
            f"| {of[0].name} | {of[0].told} | {len(of)} | "
            f"{mean(row.seconds for row in of):,.0f} | "
            f"{mean(row.images for row in of):,.0f} | {mean(row.kept for row in of):,.0f} | "
            f"{_spread([row.untrained for row in of])} | "
            f"{_spread([row.distance for row in of])} | {_spread([row.coverage for row in of], 2)} | "
            f"{_copies(of)} | {_spread([row.told_from_real for row in of], 2)} |"
        )
    return "\n".join(lines) + "\n"


def passed(rows: list[Row], roles: Roles, samples: int) -> bool:
    """Whether every run has at most a third of its untrained distance and at least half of the floor's coverage.

    A generator that is fitted at once is never untrained; for it coverage alone is judged.
    """
    floor = references(roles, samples)[FLOOR][1]
    at_once = {name for name in {row.name for row in rows} if registry.experiment(name, "small").learner.fit_once}
    missed = [
        row for row in rows if (row.distance > row.untrained / 3 and row.name not in at_once) or row.coverage < floor / 2
    ]
    for row in missed:
        print(
            f"missed: {row.name} ({row.told}) seed {row.seed}: {row.distance:.3f} of {row.untrained:.3f}, {row.coverage:.2f}"
        )
    return not missed


def picture(out: Path, roles: Roles, rows: list[Row]) -> None:
    """One contact sheet of all generators."""
    lines = []
    for row in sorted(rows, key=lambda row: row.distance):
        made = torch.from_numpy(np.load(out / f"{row.name}-{row.told}-{row.seed}.npy"))
        told = " (told)" if row.told == "class" else ""
        lines.append((f"{row.name}{told}\ndistance {row.distance:.2f}\ncoverage {row.coverage:.2f}", made))
    picture_of(out / "generators.png", roles, lines)


def picture_of(path: Path, roles: Roles, sets: Sequence[tuple[str, Tensor]], columns: int = 12) -> None:
    """A line of real held-out lesions, then one of each set (n, B, S, S), with one gain and white balance."""
    held = roles.held
    real = RealSet(np.moveaxis(held.reflectance.numpy(), 1, 3), held.diagnoses, np.array(roles.data.wavelengths_nm))
    lines = [("held-out lesions", real.reflectance), *((name, np.moveaxis(made.numpy(), 1, 3)) for name, made in sets)]
    figure = Figure(figsize=(columns * 0.75 + 1.8, len(lines) * 0.78), dpi=80, facecolor="white")
    axes = figure.subplots(len(lines), columns, squeeze=False)
    figure.subplots_adjust(left=1.8 / (columns * 0.75 + 1.8), right=0.995, top=0.99, bottom=0.01, wspace=0.05, hspace=0.06)
    for line, (name, cubes) in zip(axes, lines, strict=True):
        line[0].text(-0.08, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
        for place, cell in enumerate(line):
            cell.set_axis_off()
            if place < len(cubes):
                cell.imshow(real.picture(np.nan_to_num(cubes[place])), interpolation="bicubic")
    figure.savefig(path)


def _grouped(rows: list[Row]) -> Iterator[list[Row]]:
    for key in dict.fromkeys((row.name, row.told) for row in rows):
        yield [row for row in rows if (row.name, row.told) == key]


def _copies(of: list[Row]) -> str:
    """Return the number of copies; cubes that keep the geometry of a train lesion on purpose are not counted as such."""
    if registry.experiment(of[0].name, "small").learner.condition in SOURCED:
        return "derived"
    return f"{sum(row.copies for row in of)} of {sum(row.audited for row in of)}"


def _spread(values: list[float], digits: int = 3) -> str:
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    kinds = {each.name: each.type for each in fields(Row)}
    with path.open(encoding="utf-8", newline="") as file:
        return [Row(**{name: kinds[name](value) for name, value in line.items()}) for line in csv.DictReader(file)]


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
