"""The available classifier networks, and how each is made: cubes (N, B, H, W) -> (N,) logits of melanoma."""

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from hyperderm.errors import ConfigError, nearest
from hyperderm.learners.classifier.config import ALEXNET, ARCHITECTURES, OWN

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

WIDTHS = (16, 32, 64, 96)
GROUPS = 8


class SmallCnn(nn.Module):
    """Four convolutions (16-32-64-96 channels) with group norm; the size is halved between stages.

    A linear head makes one logit from the global mean and the global maximum. Group norm keeps no statistics over the batch:
    the logit of a cube is the same in any batch and with any number of workers.

    Args:
        bands: B.

    Shape: (N, B, H, W), with H and W of 16 or more -> (N,) logits of melanoma. It has 81,249 parameters at 16 bands.
    """

    def __init__(self, bands: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for a, b in pairwise((bands, *WIDTHS)):
            if stages:
                stages.append(nn.MaxPool2d(2))
            stages += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, b), nn.ReLU(inplace=True)]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(2 * WIDTHS[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, cubes: Tensor) -> Tensor:
        """Return one logit of melanoma for each cube, (N,)."""
        x = self.stages(cubes).flatten(2)  # (N, 96, H/8 W/8)
        return self.head(torch.cat([x.mean(2), x.amax(2)], 1)).squeeze(1)


_TIMM_NAMES = {"efficientnet_lite0": "tf_efficientnet_lite0"}
"""timm's names of architectures where they differ from ours. The published Lite0 weights require TensorFlow's padding and
epsilon, which timm's `efficientnet_lite0` does not have."""


class OneLogit(nn.Module):
    """A timm network with one output: (N, B, H, W) -> (N,)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, cubes: Tensor) -> Tensor:
        """Return one logit of melanoma for each cube, (N,)."""
        return self.network(cubes).squeeze(1)


class Ends(NamedTuple):
    """Names of a module's first convolution and last layer, as in its state dict."""

    stem: str
    head: str


def check_architecture(architecture: str) -> None:
    """Prove that `architecture` is one of `ARCHITECTURES`.

    Raises:
        ConfigError: it is not; the message names the most similar ones.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture {architecture!r}", nearest(architecture, ARCHITECTURES))


def network(architecture: str, bands: int) -> nn.Module:
    """Return an untrained network, initialised from torch's global random generator, which the caller forks and seeds.

    Raises:
        ConfigError: the architecture is unknown.
    """
    check_architecture(architecture)
    if architecture == OWN:
        return SmallCnn(bands)
    if architecture == ALEXNET:
        return OneLogit(_alexnet(bands))
    import timm

    name = _TIMM_NAMES.get(architecture, architecture)
    made = timm.create_model(name, pretrained=False, in_chans=bands, num_classes=1)
    return OneLogit(made)


def _alexnet(bands: int) -> nn.Module:
    """Return AlexNet (Krizhevsky 2014, torchvision's form) without its own dropout: `learner.dropout` draws keyed masks."""
    from torchvision.models import AlexNet

    made = AlexNet(num_classes=1, dropout=0.0)
    made.features[0] = nn.Conv2d(bands, 64, 11, 4, 2)
    return made


def timm_config(architecture: str) -> "PretrainedCfg":
    """Return timm's record of an architecture's default weights: their source and the names of the first and last layer."""
    import timm

    known = timm.get_pretrained_cfg(_TIMM_NAMES.get(architecture, architecture))
    assert known is not None
    return known


def ends(architecture: str) -> Ends:
    """Return the names of the first convolution, which takes the bands, and of the last layer, which gives the logit."""
    if architecture == OWN:
        return Ends("stages.0", "head")
    if architecture == ALEXNET:
        return Ends("network.features.0", "network.classifier.6")
    known = timm_config(architecture)
    return Ends(f"network.{known.first_conv}", f"network.{known.classifier}")
