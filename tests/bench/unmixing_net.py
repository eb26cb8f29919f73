"""Score the unmixing net on Samson: `python -m tests.bench.unmixing_net FOLDER [--seeds 10] [--bands all rgb]`.

FOLDER is that of `tests.bench.unmixing`, whose pixels of unit length and whose scores are used here. The net is trained on
the whole scene, without held-out pixels, as every unmixing of a scene is; the reference is read for the scores alone. Two
rows a seed: the net's own abundances, and those of fully constrained least squares on its endmembers. Settings were chosen
on this scene with its reference in view (METHODS section 7 keeps another scene aside): they are those of SETTINGS.
"""

import argparse
import sys
from pathlib import Path
from time import process_time

import numpy as np
import torch

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.learners.base import Compute
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.unmixer import UnmixerConfig
from hyperderm.learners.unmixer.learner import Unmixer
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.stream import feed_of
from hyperderm.unmixing.fcls import fcls
from hyperderm.unmixing.pixels import unit_length
from hyperderm.unmixing.scoring import Score, score
from tests.bench.known_scene import read_scene
from tests.bench.unmixing import spread

SETTINGS = UnmixerConfig(
    unit_length=True,
    angle_weight=1.0,
    smoothness_weight=0.015,
    sparsity_weight=0.1,
    lr=5e-3,
    lr_endmembers=5e-4,
)
RANGE = (401.0, 889.0)
"""Wavelengths (nm) of the first and the last band, of which the colours of `--bands rgb` are made."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--bands", nargs="+", default=["all", "rgb"])
    parser.add_argument("--range", nargs=2, type=float, default=RANGE, help="nm of the first and the last band")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    scene = read_scene(asked.folder)
    side = scene.cube.shape[0]
    assert scene.cube.shape[1] == side, "the net learns square scenes"
    pixels, reference, abundances = unit_length(scene.pixels), unit_length(scene.endmembers), scene.abundances
    nm = tuple(np.linspace(*asked.range, scene.cube.shape[2]))
    print(f"{'net':22}{'mean SAD (rad)':24}{'RMSE, pooled':24}{'RMSE, mean':24}seconds")
    for bands in asked.bands:
        begin = process_time()
        found = [
            trained(pixels.reshape(side, side, -1), nm, len(reference), seed, asked.steps, bands)
            for seed in range(asked.seeds)
        ]
        spent = (process_time() - begin) / asked.seeds
        for name, which in (("its own abundances", 1), ("least squares", 2)):
            scores = [score(each[0], each[which], reference, abundances) for each in found]
            print(line(f"{bands}, {name}", scores, spent), flush=True)
    return 0


def trained(
    pixels: np.ndarray, nm: tuple[float, ...], count: int, seed: int, steps: int, bands: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return endmembers (R, B), the net's abundances (N, R), and those of least squares, of a scene (H, H, B)."""
    side = len(pixels)
    cube = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    scene = CubeSet(("scene",), ("unknown",), cube, torch.zeros(1, side, side, dtype=torch.bool))
    data = TrainData(scene, scene, nm, Scaling.fit(cube))
    experiment = Experiment(
        name="scene",
        profile="small",
        seed=seed,
        data=DataConfig(size=side, diagnoses="all", flips=False),
        learner=SETTINGS.model_copy(update={"bands": bands, "endmembers": count}),
        training=TrainingConfig(batch_size=1, images=steps, validate_every=steps, precision="fp32"),
    )
    context = Context(CheckpointFolder(Path()), device=torch.device("cpu"))
    learner = Unmixer(experiment.learner, experiment, data, Compute(torch.device("cpu")))
    feed = feed_of(experiment, data, context)
    for step in range(steps):
        learner.step(feed.batch(step))
    endmembers = learner.network.endmembers.detach().double().numpy()
    made = learner.abundances_of(cube)[0].permute(1, 2, 0).reshape(-1, count).double().numpy()
    return endmembers, made, fcls(pixels.reshape(side * side, -1), endmembers)


def line(name: str, scores: list[Score], seconds: float) -> str:
    columns = ([s.mean_angle for s in scores], [s.abundance_rmse for s in scores], [s.mean_abundance_error for s in scores])
    return f"{name:22}" + "".join(f"{spread(values):24}" for values in columns) + f"{seconds:.0f}"


if __name__ == "__main__":
    sys.exit(main())
