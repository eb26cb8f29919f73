"""What photographs beside cubes are for: the same generator without and with them, and SHS-GAN from them, in one table.

    python -m tests.bench.fusion STORE PHOTOGRAPHS OUT [--seconds 120] [--seeds 1] [--samples 64]

STORE holds cubes, PHOTOGRAPHS a store of `--layout photographs` with melanomas that STORE does not show. An unmixing net
that sees colours is trained first (a quarter of the time of an arm). Then each arm is trained for as many seconds of one
thread on the melanomas of the train role, as `tests.bench.generator_quality` does it: the best of twenty validations is
kept, and all else is measured on the melanomas of the test role, by which nothing was chosen. Beside distance and coverage:
cubes that the memorisation audit calls copies of a train lesion and of a photograph, AUROC of told-from-real, and how far
the nearest photograph is: the median over cubes of the root mean square difference in reflectance from the photograph, as
the mixture that the net sees in it, that is nearest in any of eight orientations. The row of real cubes says how far it is
from lesions that no photograph shows.
"""

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from hyperderm import registry
from hyperderm.config import Experiment
from hyperderm.learners.sources import Sources, matched
from hyperderm.learners.spec import UNMIXING
from hyperderm.metrics.memorisation import Auditor, Reference
from hyperderm.metrics.orientation import ORIENTATIONS, orient
from hyperderm.store.folds import POSITIVE
from hyperderm.store.reader import Store, open_store
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.data import cube_set
from hyperderm.training.photographs import check_unrelated, photographs_of
from hyperderm.training.stream import feed_of
from tests.bench.generator_quality import (
    CPU,
    FLOOR,
    MEAN,
    Roles,
    audited,
    configured,
    picture_of,
    references,
    roles_of,
    scored,
    trained,
)


@dataclass(frozen=True)
class Row:
    """What one arm came to."""

    arm: str
    seed: int
    images: int
    distance: float
    coverage: float
    copies: int
    copies_of_photographs: int
    audited: int
    told_from_real: float
    nearest_photograph: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("photographs")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--generator", default="dcgan")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    store, rgb, rows, cubes = open_store(asked.store), open_store(asked.photographs), list[Row](), dict[str, Tensor]()
    for seed in range(asked.seeds):
        roles, plain = fused_roles(store, rgb, asked.generator, seed, asked.seconds / 4)
        for arm, made, images in arms(roles, plain, rgb, asked.generator, seed, asked.seconds, asked.samples):
            copies, told = audited(roles, made)
            row = Row(
                arm,
                seed,
                images,
                *scored(roles, made),
                copies,
                of_photographs(roles, made),
                len(made),
                told,
                nearest_photograph(roles, made),
            )
            rows.append(row)
            cubes.setdefault(arm, made)
            _write(asked.out / "fusion.csv", rows)
            print(" ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in asdict(row).values()))
    text = table(rows, roles, asked.samples)
    print(text)
    (asked.out / "fusion.md").write_text(text, encoding="utf-8")
    shown = [*cubes.items(), ("photographs, as mixtures", photographs_seen(roles))]
    picture_of(
        asked.out / "fusion.png",
        roles,
        [(name.replace(", ", ",\n").replace(" and ", "\nand "), made) for name, made in shown],
    )
    return 0


def fused_roles(store: Store, rgb: Store, generator: str, seed: int, seconds: float) -> tuple[Roles, Experiment]:
    """Return the roles with the unmixing net's state and the photographs of melanomas, and the generator on bands."""
    plain = configured(generator, seed, False, 32)
    assert plain is not None
    roles = roles_of(store, plain)
    unmixer = registry.experiment("unmixer", "small").override(
        {"seed": seed, "data.size": 32, "training.precision": "fp32", "learner.bands": "rgb"}
    )
    every = roles_of(store, unmixer).data
    context = Context(CheckpointFolder(Path()), device=CPU)
    learner = unmixer.learner.build(unmixer, every, context.compute("fp32"))
    feed, images, spent = feed_of(unmixer, every, context), 0, 0.0
    while spent < seconds:
        began = time.process_time()
        learner.step(feed.batch(images))
        images, spent = images + unmixer.training.batch_size, spent + time.process_time() - began
    ids = photographs_of(rgb, POSITIVE, 32)
    check_unrelated(store, rgb, ids, plain.data.fold)
    state = {UNMIXING: {"learner": learner.state_dict()}}
    return Roles(replace(roles.data.given(state, None), extra=cube_set(rgb.read(ids), 32)), roles.held), plain


Arm = tuple[str, Tensor, int]


def arms(
    roles: Roles, plain: Experiment, rgb: Store, generator: str, seed: int, seconds: float, samples: int
) -> Iterator[Arm]:
    """Train every arm; yield its name, its melanomas (n, B, S, S), and the number of images it was shown."""
    abundances = plain.override({"learner.space": "abundance", "learner.unmixing": "here"})
    fused = abundances.override({"data.photographs": rgb.location.uri})
    alone = Roles(replace(roles.data, extra=None), roles.held)
    for arm, experiment, data in (
        (f"{generator}, bands", plain, alone),
        (f"{generator}, abundances", abundances, alone),
        (f"{generator}, abundances and photographs", fused, roles),
    ):
        row, made = trained(experiment, data, "none", seconds, samples)
        yield arm, made, row.images
    yield from _from_pictures(alone, roles, seed, seconds, samples)


def _from_pictures(alone: Roles, roles: Roles, seed: int, seconds: float, samples: int) -> Iterator[Arm]:
    """SHS-GAN asked for cubes from the pseudo-RGB of train, and from photographs matched to it."""
    experiment = configured("shsgan", seed, False, 32)
    assert experiment is not None
    kept: list[Any] = []
    row, made = trained(experiment, alone, "none", seconds, samples, keep=kept.append)
    yield "shsgan, from train's colours", made, row.images
    sampler, extra = kept[-1].sampler(), roles.data.extra
    assert extra is not None
    own = sampler.sources(alone.data.train.chosen([i for i, d in enumerate(alone.data.train.diagnoses) if d == POSITIVE]))
    levels = matched(extra.reflectance.numpy()[:, ::-1], own)
    given = Sources(extra.lesion_ids, levels).draw(seed, list(range(samples)))
    yield "shsgan, from photographs", sampler.sample(seed, range(samples), given), row.images


def photographs_seen(roles: Roles) -> Tensor:
    """The photographs as the mixtures that are learnt, (n, B, S, S)."""
    made = registry.experiment("dcgan_abundance", "small").override({"learner.unmixing": "here"})
    extra = made.learner.in_space(made, roles.data).extra
    assert extra is not None
    return extra.reflectance


def of_photographs(roles: Roles, cubes: Tensor) -> int:
    """How many cubes the audit calls copies of a photograph."""
    seen = photographs_seen(roles)
    auditor = Auditor(Reference(seen, roles.melanomas("validation"), [str(i) for i in range(len(seen))]))
    auditor.add(cubes)
    return len(auditor.result().copies)


def nearest_photograph(roles: Roles, cubes: Tensor) -> float:
    """Median over cubes (n, B, S, S) of the distance in reflectance to the nearest photograph in any orientation."""
    seen = photographs_seen(roles).flatten(1)
    least = [torch.cdist(orient(cubes, k).flatten(1), seen).min(1).values for k in range(ORIENTATIONS)]
    return float(torch.stack(least).min(0).values.median() / seen.shape[1] ** 0.5)


def table(rows: list[Row], roles: Roles, samples: int) -> str:
    lines = [
        "| arm | seeds | images | distance | coverage | copies of train | copies of photographs | told from real | nearest "
        "photograph |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    found = references(roles, samples)
    for name in (FLOOR, MEAN):
        near = f"{nearest_photograph(roles, roles.melanomas('test')):.3f}" if name == FLOOR else ""
        lines.append(f"| {name} | | | {found[name][0]:.3f} | {found[name][1]:.2f} | | | | {near} |")
    for arm in dict.fromkeys(row.arm for row in rows):
        of = [row for row in rows if row.arm == arm]
        count = sum(row.audited for row in of)
        lines.append(
            f"| {arm} | {len(of)} | {mean(row.images for row in of):,.0f} | {mean(row.distance for row in of):.3f} | "
            f"{mean(row.coverage for row in of):.2f} | {sum(row.copies for row in of)} of {count} | "
            f"{sum(row.copies_of_photographs for row in of)} of {count} | {mean(row.told_from_real for row in of):.2f} | "
            f"{mean(row.nearest_photograph for row in of):.3f} |"
        )
    return "\n".join(lines) + "\n"


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
