"""DDPM in abundance space with the settings of seed 004 (Yu, Pan et al., CVPR 2024; METHODS section 7).

The full profile has the seed's U-Net (inner width 64, multipliers 1-2-4-8-8), 2000 steps with β from 1e-6 to 1e-2 on a
line, L1 on the noise, Adam 1e-4, batch 8, abundances as 2a − 1. The seed samples with all 2000 steps; here 50 with fresh
noise do. What is clean is believed within [-1, 1] only. The small profile has the small U-Net of `diffusion`.
Hypothesis: it learns what EDM learns, and needs more images for it, because L1 on noise weighs small noise most.
Command: make sweep-ddpm
Expected: 6 ms an image on one core at 32 px.
Result (100 s of one thread, one seed, 32 px, 72 train melanomas of the ISIC 2018 stand-ins; measured on the melanomas of the
validation role): distance 0.45, coverage 0.67 after 18,344 images. Half are lesions in skin, the others keep much noise.
"""

from typing import Any

from experiments.diffusion import diffusion
from hyperderm.config import Experiment
from hyperderm.registry import Profile

SEED: dict[str, Any] = {
    "space": "abundance",
    "process": "ddpm",
    "loss": "l1",
    "standardise": "none",
    "ddpm": {"clip": 1.0},
    "sampling_steps": 50,
}


def experiment(profile: Profile) -> Experiment:
    """Return the whole configuration; `small` takes two CPU cores ten minutes, `full` needs a GPU."""
    return diffusion("ddpm", profile, **SEED | ({} if profile == "small" else {"lr": 1e-4}))
