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
from hyperderm.unmixing.scoring import Score, score
from tests.bench.unmixing import samson, spread

SIDE, ENDMEMBERS = 95, 3
SETTINGS = UnmixerConfig(
    endmembers=ENDMEMBERS,
    unit_length=True,
    angle_weight=1.0,
    smoothness_weight=0.015,
    sparsity_weight=0.1,
    lr=5e-3,
    lr_endmembers=5e-4,
)
WAVELENGTHS = tuple(np.linspace(401.0, 889.0, 156))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--bands", nargs="+", default=["all", "rgb"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    pixels, reference, abundances = samson(asked.folder)
    print(f"{'net':22}{'mean SAD (rad)':24}{'RMSE, pooled':24}{'RMSE, mean':24}seconds")
    for bands in asked.bands:
        begin = process_time()
        found = [trained(pixels, seed, asked.steps, bands) for seed in range(asked.seeds)]
        spent = (process_time() - begin) / asked.seeds
        for name, which in (("its own abundances", 1), ("least squares", 2)):
            scores = [score(each[0], each[which], reference, abundances) for each in found]
            print(line(f"{bands}, {name}", scores, spent), flush=True)
    return 0


def trained(pixels: np.ndarray, seed: int, steps: int, bands: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return endmembers (R, B), the net's abundances (N, R), and those of least squares."""
    cube = torch.from_numpy(pixels.reshape(SIDE, SIDE, -1)).permute(2, 0, 1)[None].float()
    scene = CubeSet(("samson",), ("unknown",), cube, torch.zeros(1, SIDE, SIDE, dtype=torch.bool))
    data = TrainData(scene, scene, WAVELENGTHS, Scaling.fit(cube))
    experiment = Experiment(
        name="samson",
        profile="small",
        seed=seed,
        data=DataConfig(size=SIDE, diagnoses="all", flips=False),
        learner=SETTINGS.model_copy(update={"bands": bands}),
        training=TrainingConfig(batch_size=1, images=steps, validate_every=steps, precision="fp32"),
    )
    context = Context(CheckpointFolder(Path()), device=torch.device("cpu"))
    learner = Unmixer(experiment.learner, experiment, data, Compute(torch.device("cpu")))
    feed = feed_of(experiment, data, context)
    for step in range(steps):
        learner.step(feed.batch(step))
    endmembers = learner.network.endmembers.detach().double().numpy()
    made = learner.abundances_of(cube)[0].permute(1, 2, 0).reshape(-1, ENDMEMBERS).double().numpy()
    return endmembers, made, fcls(pixels, endmembers)


def line(name: str, scores: list[Score], seconds: float) -> str:
    columns = ([s.mean_angle for s in scores], [s.abundance_rmse for s in scores], [s.mean_abundance_error for s in scores])
    return f"{name:22}" + "".join(f"{spread(values):24}" for values in columns) + f"{seconds:.0f}"


if __name__ == "__main__":
    sys.exit(main())
