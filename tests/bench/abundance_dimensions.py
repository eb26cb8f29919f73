"""The seed's table of abundance spaces: 3, 5, 8, 15 endmembers and the cube itself, with the same generator and time.

    python -m tests.bench.abundance_dimensions STORE OUT [--seconds 120] [--generator dcgan] [--dimensions 3 5 8 15]

Seed 004 (METHODS section 7) reports 3 endmembers: FID 8.77; 5: 8.23; 8: 15.19; 15: 49.15; and PSNR 34.26 dB and a spectral
angle of 5.47 degrees for 5. Here, on the left, what the space itself costs: validation melanomas against their own mixtures
E·a (RMSE, PSNR over train's range, SSIM, spectral angle). On the right, a generator in this space after some seconds of one
thread, the best of twenty validations, against the melanomas of the test role: FID in Inception's features (of few cubes: a
rank, not a value to compare with papers), recall, precision, spectral energy distance and coverage.
"""

import argparse
import csv
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hyperderm.metrics.distribution import frechet_distance
from hyperderm.metrics.feature_spaces import inception
from hyperderm.metrics.manifold import manifold
from hyperderm.metrics.similarity import psnr, ssim
from hyperderm.metrics.spectral import spectral_angles
from hyperderm.store.reader import open_store
from tests.bench.generator_quality import Roles, configured, picture_of, roles_of, scored, trained

CUBE = 0
"""Stands for the cube itself in the list of dimensions."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--generator", default="dcgan")
    parser.add_argument("--dimensions", nargs="+", type=int, default=[3, 5, 8, 15])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    plain = configured(asked.generator, 0, False, 32)
    assert plain is not None
    roles, rows, shown = roles_of(open_store(asked.store), plain), list[Mapping[str, float]](), list[tuple[str, Tensor]]()
    for dimension in (*asked.dimensions, CUBE):
        experiment = plain
        if dimension != CUBE:
            experiment = plain.override({"learner.space": "abundance", "learner.endmembers": dimension})
        row, made = trained(experiment, roles, "none", asked.seconds, asked.samples)
        cost = of_space(roles, experiment) if dimension != CUBE else {}
        rows.append({"dimension": dimension, "images": row.images, **cost, **of_cubes(roles, made)})
        shown.append((f"{dimension} endmembers" if dimension else "bands", made))
    text = table(rows)
    print(text)
    (asked.out / "dimensions.md").write_text(text, encoding="utf-8")
    with (asked.out / "dimensions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    picture_of(asked.out / "dimensions.png", roles, shown)
    return 0


def of_space(roles: Roles, experiment) -> dict[str, float]:
    """What mixtures cost: validation melanomas against E·a of their own abundances."""
    space = experiment.learner.in_space(experiment, roles.data).space
    real = roles.melanomas("validation").double()
    mixed = space.inverse(space.forward(real))
    width = float((roles.data.scaling.high - roles.data.scaling.low).max())
    return {
        "rmse": float((mixed - real).square().mean().sqrt()),
        "psnr": float(np.mean(psnr(mixed, real, width))),
        "ssim": float(np.mean(ssim(mixed, real, width))),
        "degrees": float(np.degrees(np.nanmean(spectral_angles(mixed, real)))),
    }


def of_cubes(roles: Roles, made: Tensor) -> dict[str, float]:
    """Generated melanomas against those of the test role."""
    scaling, real = roles.data.scaling, roles.held.reflectance
    network = inception()
    a, b = (network.features(cubes, scaling.low.numpy(), scaling.high.numpy()) for cubes in (real, made))
    found = manifold(a, b)
    distance, covered = scored(roles, made)
    return {
        "fid": frechet_distance(a, b),
        "recall": found.recall,
        "precision": found.precision,
        "distance": distance,
        "coverage": covered,
    }


def table(rows: list[Mapping[str, float]]) -> str:
    lines = [
        "| dimension | RMSE | PSNR dB | SSIM | angle ° | FID | recall | precision | distance | coverage |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cost = " | ".join(f"{row[name]:.3g}" if name in row else "" for name in ("rmse", "psnr", "ssim", "degrees"))
        made = " | ".join(f"{row[name]:.3g}" for name in ("fid", "recall", "precision", "distance", "coverage"))
        lines.append(f"| {int(row['dimension']) or 'cube'} | {cost} | {made} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
