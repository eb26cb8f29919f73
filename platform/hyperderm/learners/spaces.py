"""The endmembers that span the abundance space of a run: those of an unmixing net, or found among the pixels of train."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.errors import ConfigError
from hyperderm.learners import randomness
from hyperderm.learners.abundance_space import AT_ONCE, AbundanceSpace
from hyperderm.learners.data import CubeSet, TrainData
from hyperderm.learners.sources import learnt_names, matched_by_diagnosis, rgb_levels
from hyperderm.learners.space_settings import ENDMEMBERS, SpaceConfig
from hyperderm.learners.spec import SPACE, START, UNMIXING
from hyperderm.learners.synthesis import repeatable
from hyperderm.learners.unmixer.networks import UnmixingNet
from hyperderm.settings import Run
from hyperderm.unmixing.methods import unmix
from hyperderm.unmixing.pixels import candidates

COLOURS = 3
PIXELS = 20_000
"""Number of pixels of train among which endmembers are sought."""


def in_abundance_space(config: SpaceConfig, run: Run, data: TrainData) -> TrainData:
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
    found = _with_space(config, run, data)
    if data.extra is None:
        return found
    assert found.space is not None
    return replace(found, extra=_unmixed(data.extra, data, found.space))


def _with_space(config: SpaceConfig, run: Run, data: TrainData) -> TrainData:
    if data.space is not None:  # of the checkpoint from which the run continues
        return data
    given = _of_net(data.inputs[UNMIXING]) if UNMIXING in data.inputs else None
    if START in data.inputs:
        space = AbundanceSpace.from_state(data.inputs[START][SPACE])
        if given is not None and not (given.shape == space.endmembers.shape and np.allclose(given, space.endmembers)):
            raise ConfigError(
                f"learner.start = {config.needed[START]}: its abundances are of other endmembers than learner.unmixing = "
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


def unmixing_errors(data: TrainData) -> dict[str, float]:
    """Return how well validation cubes are rebuilt in the space of `data`: root mean square errors in reflectance.

    `held_out_unmixing_rmse` is that of least squares on all bands. Where an unmixing net sees colours, also
    `held_out_rmse_from_colours`: of what it sees in their pseudo-RGB alone, as it sees photographs (METHODS section 7).
    """
    assert data.space is not None
    held, space = data.validation.reflectance, data.space
    rebuilt = space.inverse(space.forward(held.double()))
    errors = {"held_out_unmixing_rmse": _rms(rebuilt - held)}
    network = net_of(data)
    if network is not None and len(network.centre) == COLOURS:
        levels = torch.from_numpy(rgb_levels(held, pseudo_rgb_matrix(data.wavelengths_nm)))
        errors["held_out_rmse_from_colours"] = _rms(_mixed(network, space, levels) - held)
    return errors


def _unmixed(photographs: CubeSet, data: TrainData, space: AbundanceSpace) -> CubeSet:
    """Return photographs as the mixtures of what the unmixing net sees in them, (n, B, S, S) reflectance.

    Their linear colours are first matched to H · reflectance of the train cubes of the same diagnosis, by the mean and the
    deviation of each channel. Abundances are the network's own, an estimate from three numbers with its prior; they are
    mixed by its endmembers, so that what is learnt of them is these abundances again. Photographs without a diagnosis
    count as the one that is learnt.
    """
    network = net_of(data)
    assert network is not None
    levels = matched_by_diagnosis(photographs, data.train, pseudo_rgb_matrix(data.wavelengths_nm))
    mixed = _mixed(network, space, levels).float()
    return replace(photographs, diagnoses=learnt_names(photographs, data.train), reflectance=mixed)


def _mixed(network: UnmixingNet, space: AbundanceSpace, levels: Tensor) -> Tensor:
    """Return the mixtures (n, B, S, S) float64 of what the network sees in linear colours (n, 3, S, S)."""
    with repeatable():
        parts = [network(part)[0].double() for part in levels.float().split(AT_ONCE)]
        return torch.cat([space.inverse(2 * part - 1) for part in parts])


def unmixing_network(checkpoint: Mapping[str, Any]) -> nn.Module:
    """Return an unmixing net from its checkpoint: images (N, 3 or B, H, W) to abundances (N, R, H, W) and mixtures."""
    return UnmixingNet.from_state(checkpoint["learner"]["network"])


def _rms(difference: Tensor) -> float:
    return float(difference.double().square().mean().sqrt())


def net_of(data: TrainData) -> UnmixingNet | None:
    """Return the unmixing net of the run that was given as an input, or None without such a run."""
    return UnmixingNet.from_state(data.inputs[UNMIXING]["learner"]["network"]) if UNMIXING in data.inputs else None


def _of_net(checkpoint: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the endmembers (R, B) of the unmixing net that a checkpoint holds."""
    found: NDArray[np.float64] = checkpoint["learner"]["network"]["endmembers"].double().cpu().numpy()
    return found
