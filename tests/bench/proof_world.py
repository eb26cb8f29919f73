"""A world for the proof through and through: photographs of lesions that no cube shows, copiers, and negative controls.

    python -m tests.bench.proof_world --seeds 101 102 [--out FOLDER] [--concurrent 1] [--classifiers 3] [--short]

The world of a seed is the phantom of that seed, at 16 px, seen by a camera with more noise: 120 melanomas and 800
dysplastic nevi in three folds, so that a classifier is trained on 40 melanomas. Beside the cubes there are photographs
(their pseudo-RGB) of lesions that no cube shows. In every fold an unmixing net learns from train's cubes what three colours
hold, and `colour_unmixing` makes cubes of the photographs by it: the generator has seen lesions that the classifier has
not. Its cubes of both classes are shown to `small_cnn` in train's proportion, nine for each real one, so that "synthetic" is
no sign of melanoma; the control has as many steps with real cubes.

Beside it stand generators without new information, a copier and the blurred average of train cubes, and as negative
controls sets with diagnoses dealt out anew, cubes called melanoma by generators that never saw one, and noisy copies. All
is one grid, planned, run and judged by the functions that `hyperderm ablation` calls, without MLflow: photographs,
generator, set, cell, report.

Worlds that were tried, on seeds from 101 on. In earlier ones a classifier had 600 steps, too few for lesions to show; how
much there is to gain, `--perfect` tells. Cubes without the sensor's noise teach features that drown in it, so the residual
of `colour_unmixing` is on. What `--short --classifiers 2` said, which had the informed generator and noisy copies alone,
against `real` and `classic`:

    --seeds 101 --no-residual --noise .08 --other melanocytic_lesion --cubes 60 400 --photographs 120 800 --ratio 4
                                                         +.227 [+.156, +.298]   +.023 [-.009, +.055]   cannot tell
    --seeds 101 --no-residual --noise .25 --cubes 60 400 --photographs 240 1600
                                                         +.266 [+.191, +.342]   +.044 [-.046, +.133]   cannot tell
    --seeds 101 --cubes 60 400 --photographs 240 1600    +.266 [+.194, +.338]   +.041 [+.006, +.077]   helps
    --seeds 101 --noise .25                              +.273 [+.199, +.348]   +.095 [+.059, +.130]   helps

The last was run whole too: it helps (+.095 [+.053, +.137] against `classic`); the copier (-.009), the blurred average
(-.079) and all negative controls do not. But with so much noise the learning curve of `real` does not surely rise (+.029
[-.044, +.102] a doubling). With a noise of .2 and of .15, one seed of classifiers gave it +.027 and +.067, and the gain
over `classic` was +.085 and +.060: .15 is the world of the proof. `tests/bench/proof_world.json` holds what its seeds said
(`--record`). With two classifiers a fold (`--classifiers 2`) seed 0 helps, +.242 [+.152, +.331] and +.065 [+.031, +.098],
and seed 1 cannot be told, +.190 [+.059, +.321] and +.069 [-.011, +.148]: two leave the interval so few degrees of freedom
that it wavers. With three it is +.188 [+.128, +.249] and +.066 [+.031, +.100]: three are the number since then (the
third one's cells were added to the same grid: 1,593 and 538 s).

For every seed and decision one line is printed: the difference in AUROC with its Holm-adjusted interval against `real` and
against the control, and the verdict; at the end what all worlds say together, those of `--record` too.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hyperderm import registry
from hyperderm.cluster.session import Cluster, connect, quiet_ray
from hyperderm.config import Experiment, TrainingConfig
from hyperderm.cubes.cube import Cube, Lesion
from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.grid_config import NOISY_COPIES, Ablation, Model, Resources
from hyperderm.learners.classifier import ClassifierConfig
from hyperderm.learners.spec import UNMIXING
from hyperderm.phantom.rendering import render
from hyperderm.settings import PENDING, TaskConfig
from hyperderm.store.reader import Store, open_store
from hyperderm.store.synthetic import SyntheticCube, write_synthetic
from hyperderm.store.writer import write_store
from tests.bench import proof_record
from tests.bench.grid_run import judged
from tests.studies.worlds import origin

if TYPE_CHECKING:
    from hyperderm.reports.ablation.gather import Outcome

MELANOMA = "melanoma"
SIZE, FOLDS = 16, 3
FIRST_PHOTOGRAPH, FIRST_PERFECT = 10_000, 20_000
"""The phantom's number of the first lesion that is photographed, and of the first that the perfect generator shows; cubes
show lesions of smaller numbers."""
NET, INFORMED, BLIND, COPIER = "unmixer", "colour_unmixing", "blurred_average", "copier"
PERFECT = "perfect"
PHOTOGRAPH_NM = np.array([465.0, 545.0, 610.0])
"""Nominal wavelengths of B, G and R."""


@dataclass(frozen=True)
class Kind:
    """A kind of world.

    Attributes:
        other: diagnosis of the lesions that are no melanomas.
        noise: standard deviation of the sensor's noise in reflectance, in every band and pixel, beside that of the phantom.
        cubes: number of melanomas and of other lesions.
        photographs: number of photographed melanomas and of other lesions.
        ratio: synthetic cubes for each real one.
        images: number of images that a classifier is shown, in batches of 16.
        residual: whether the informed generator adds what mixtures leave out of train cubes, the sensor's noise with it.
        perfect: whether the grid has the generator that nobody has: the phantom itself, seen by the same camera.
    """

    other: str = "dysplastic_nevus"
    noise: float = 0.15
    cubes: tuple[int, int] = (120, 800)
    photographs: tuple[int, int] = (480, 3_200)
    ratio: float = 9.0
    images: int = 32_000
    residual: bool = True
    perfect: bool = False


def lesions(kind: Kind, counts: tuple[int, int], first: int, seed: int) -> Iterator[Lesion]:
    """Yield melanomas and other lesions of the phantom `seed`, numbered from `first`."""
    diagnoses = [MELANOMA] * counts[0] + [kind.other] * counts[1]
    for number, diagnosis in enumerate(diagnoses, first):
        lesion = render(number, diagnosis, SIZE, seed).lesion
        noise = kind.noise * np.random.default_rng([seed, number]).standard_normal(lesion.cube.reflectance.shape)
        seen = (lesion.cube.reflectance + noise).astype(np.float32)
        yield replace(lesion, cube=replace(lesion.cube, reflectance=seen))


def photograph(lesion: Lesion) -> Lesion:
    """Return what a camera with three linear channels sees of a lesion; channels stand by rising wavelength."""
    levels = lesion.cube.reflectance @ pseudo_rgb_matrix(lesion.cube.wavelengths_nm).T
    return replace(lesion, cube=Cube(levels[..., ::-1].astype(np.float32), PHOTOGRAPH_NM))


def world(folder: Path, kind: Kind, seed: int) -> tuple[Store, str]:
    """Write the cubes and the photographs of a seed; return the store of cubes and the address of the photographs."""
    place, pictures = str(folder / "store"), str(folder / "photographs")
    write_store(place, lesions(kind, kind.cubes, 0, seed), fold_count=FOLDS, seed=0)
    taken = (photograph(lesion) for lesion in lesions(kind, kind.photographs, FIRST_PHOTOGRAPH, seed))
    write_store(pictures, taken, fold_count=0, kind="rgb")
    return open_store(place), pictures


def perfect_sets(folder: Path, kind: Kind, seed: int, store: Store) -> dict[str, str]:
    """Write lesions that neither cubes nor photographs show as a synthetic set of every fold; return the addresses."""
    made = [
        SyntheticCube(number, lesion.cube.reflectance, str(lesion.diagnosis))
        for number, lesion in enumerate(lesions(kind, kind.photographs, FIRST_PERFECT, seed))
    ]
    requested = {MELANOMA: kind.photographs[0], kind.other: kind.photographs[1]}
    uris = {}
    for fold in range(FOLDS):
        uris[str(fold)] = str(folder / f"{PERFECT}-{fold}")
        facts = origin(store, fold, PERFECT, 0).model_copy(update={"requested": requested})
        write_synthetic(uris[str(fold)], iter(made), store.manifest.wavelengths_nm, facts)
    return uris


def experiments(residual: bool) -> dict[str, Experiment]:
    """Return the generators and the unmixing net, by name."""
    net = registry.experiment(NET, "small").override(
        {"learner.bands": "rgb", "learner.start_by": "vca", "learner.sparsity_weight": 0.0}
    )
    informed = registry.experiment(INFORMED, "small").override(
        {f"learner.{UNMIXING}": PENDING, "learner.residual": residual}
    )
    others = {name: registry.experiment(name, "small") for name in (BLIND, NOISY_COPIES)}
    others[COPIER] = others[NOISY_COPIES].override({"learner.noise": 1e-6})
    return {NET: net, INFORMED: informed, **others}


def grid(
    kind: Kind, photographs: str, perfect: dict[str, str], classifiers: int, concurrent: int, short: bool = False
) -> Ablation:
    """Return the grid of a world; the short one has a curve of two points and noisy copies as the only control.

    Args:
        kind: the kind of world.
        photographs: address of the store of photographs.
        perfect: fold to the address of the perfect generator's set; {} without one.
        classifiers: number of seeds.
        concurrent: number of jobs at a time.
        short: whether the short grid is wanted.
    """
    return Ablation(
        name="proof_world",
        profile="small",
        size=SIZE,
        task=TaskConfig(negatives="all_others"),
        arms=("real", "proportional", "noisy_copies", *(() if short else ("shuffled", "without_melanoma"))),
        curve=(0.25,) if short else (0.25, 0.5),
        ratios=(kind.ratio,),
        seeds=tuple(range(classifiers)),
        generators=(INFORMED, BLIND, COPIER, *((PERFECT,) if perfect else ())),
        sets={PERFECT: perfect} if perfect else {},
        unmixers={INFORMED: NET},
        rgb=photographs,
        models=("small_cnn",),
        classifiers={
            "small_cnn": Model(
                learner=ClassifierConfig(lr=1e-3),
                training=TrainingConfig(batch_size=16, images=kind.images, validate_every=kind.images // 10),
            )
        },
        resources=Resources(concurrent=concurrent),
    )


def answer(
    folder: Path, kind: Kind, seed: int, cluster: Cluster, classifiers: int, concurrent: int, short: bool = False
) -> "Outcome":
    """Make the world of a seed, run its grid and return what the report says."""
    store, photographs = world(folder, kind, seed)
    perfect = perfect_sets(folder, kind, seed, store) if kind.perfect else {}
    wanted = grid(kind, photographs, perfect, classifiers, concurrent, short)
    return judged(wanted, store, experiments(kind.residual), folder, cluster, f"proof_world-{seed}")


def main() -> int:
    """Run the world of every seed that is asked for, and count the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--out", type=Path, help="where stores and grids are kept; without it they are not kept")
    parser.add_argument("--record", type=Path, help="file with the worlds run so far, to which these are added")
    parser.add_argument("--concurrent", type=int, default=1, help="jobs at a time")
    parser.add_argument("--classifiers", type=int, default=3, help="seeds of the classifiers")
    parser.add_argument("--short", action="store_true", help="a curve of two points, one negative control")
    parser.add_argument("--other", default=Kind.other, help="diagnosis of the lesions that are no melanomas")
    parser.add_argument("--noise", type=float, default=Kind.noise, help="of the sensor, in reflectance")
    parser.add_argument("--cubes", type=int, nargs=2, default=Kind.cubes, help="melanomas and other lesions")
    parser.add_argument("--photographs", type=int, nargs=2, default=Kind.photographs, help="melanomas and other lesions")
    parser.add_argument("--ratio", type=float, default=Kind.ratio, help="synthetic cubes for each real one")
    parser.add_argument("--images", type=int, default=Kind.images, help="that a classifier is shown")
    parser.add_argument("--residual", action=argparse.BooleanOptionalAction, default=Kind.residual)
    parser.add_argument("--perfect", action="store_true", help="with the generator that nobody has, the phantom itself")
    asked = parser.parse_args()
    kind = Kind(**{each.name: getattr(asked, each.name) for each in fields(Kind)})
    quiet_ray()  # before the imports that import Ray
    settings = {**asdict(kind), "classifiers": asked.classifiers, "short": asked.short}
    worlds = proof_record.recorded(asked.record, settings)
    with connect(None) as cluster, nullcontext(asked.out) if asked.out else tempfile.TemporaryDirectory() as out:
        for seed in asked.seeds:
            began, folder = time.monotonic(), Path(out) / f"seed-{seed}"
            folder.mkdir(parents=True)
            outcome = answer(folder, kind, seed, cluster, asked.classifiers, asked.concurrent, asked.short)
            worlds[seed] = proof_record.world_said(outcome.analysis, time.monotonic() - began)
            print(*proof_record.lines(seed, worlds[seed]), sep="\n", flush=True)
            if asked.record:
                proof_record.record(asked.record, settings, worlds)
    print(*proof_record.together(worlds), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
