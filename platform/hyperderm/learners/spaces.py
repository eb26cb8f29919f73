"""The endmembers that span the abundance space of a run: those of an unmixing net, or found among the pixels of train."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hyperderm.errors import ConfigError
from hyperderm.learners import randomness
from hyperderm.learners.abundance_space import AbundanceSpace
from hyperderm.learners.data import TrainData
from hyperderm.learners.generative_settings import ENDMEMBERS, GenerativeConfig
from hyperderm.learners.spec import SPACE, START, UNMIXING
from hyperderm.settings import Run
from hyperderm.unmixing.methods import unmix
from hyperderm.unmixing.pixels import candidates

PIXELS = 20_000
"""Number of pixels of train among which endmembers are sought."""


def in_abundance_space(config: GenerativeConfig, run: Run, data: TrainData) -> TrainData:
    """Return the data of a run with the abundance space that its configuration asks for.

    A run that begins with the networks of another run (`learner.start`) keeps that run's space, so that its networks mean
    the same.

    Args:
        config: the generator's settings, with `space` "abundance".
        run: the run; its seed draws the pixels.
        data: the data; nothing but its train role is looked at.

    Raises:
        ConfigError: no such endmembers can be found, or the two runs that are given as inputs disagree.
    """
    given = _of_net(data.inputs[UNMIXING]) if UNMIXING in data.inputs else None
    if START in data.inputs:
        space = AbundanceSpace.from_state(data.inputs[START][SPACE])
        if given is not None and not (given.shape == space.endmembers.shape and np.allclose(given, space.endmembers)):
            raise ConfigError(
                f"learner.start = {config.start}: its abundances are of other endmembers than learner.unmixing = "
                f"{config.unmixing}",
                "Leave learner.unmixing out, or name the run that it was trained with.",
            )
        return replace(data, space=space)
    train = data.train.reflectance
    if given is not None:
        return replace(data, space=AbundanceSpace.fit(train, given, f"the unmixing net {config.unmixing}"))
    count, method = config.endmembers or ENDMEMBERS, config.endmembers_by or "sisal"
    pixels = train.movedim(1, 3).reshape(-1, train.shape[1])
    chosen = torch.randperm(len(pixels), generator=randomness.generator(run.seed, "endmembers", 0))[:PIXELS].sort().values
    spectra = candidates(pixels[chosen].double().cpu().numpy())
    try:
        endmembers = unmix(spectra, method, count, run.seed).endmembers
        return replace(data, space=AbundanceSpace.fit(train, endmembers, f"{method} of {len(spectra)} pixels of train"))
    except ConfigError as error:
        raise ConfigError(
            f"learner.space = abundance: {error.what}", "Use fewer learner.endmembers, or more data."
        ) from error


def _of_net(checkpoint: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the endmembers (R, B) of the unmixing net that a checkpoint holds."""
    found: NDArray[np.float64] = checkpoint["learner"]["network"]["endmembers"].double().cpu().numpy()
    return found
