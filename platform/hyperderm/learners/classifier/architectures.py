"""Which classifier networks there are, and how each is made: (N, B, H, W) -> (N,) logits of melanoma."""

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from hyperderm.errors import ConfigError, nearest
from hyperderm.learners.classifier.known import ARCHITECTURES, OWN
from hyperderm.learners.classifier.small_cnn import SmallCnn

if TYPE_CHECKING:  # timm takes seconds to import; the small network needs none of it
    from timm.models import PretrainedCfg

_TIMM_NAMES = {"efficientnet_lite0": "tf_efficientnet_lite0"}
"""The published Lite0 weights want TensorFlow's padding and epsilon; timm's `efficientnet_lite0` has neither."""


class OneLogit(nn.Module):
    """A timm network with one output: (N, B, H, W) -> (N,)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, cubes: Tensor) -> Tensor:
        """Return one logit a cube."""
        return self.network(cubes).squeeze(1)


class Ends(NamedTuple):
    """Names of a module's first convolution and of its last layer, as in its state dict."""

    stem: str
    head: str


def check_architecture(architecture: str) -> None:
    """Prove that `architecture` is one of `ARCHITECTURES`.

    Raises:
        ConfigError: it is not; the nearest are named.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture {architecture!r}", nearest(architecture, ARCHITECTURES))


def network(architecture: str, bands: int) -> nn.Module:
    """Return an untrained network, initialised from torch's global generator: the caller forks and seeds it.

    Raises:
        ConfigError: unknown architecture.
    """
    check_architecture(architecture)
    if architecture == OWN:
        return SmallCnn(bands)
    import timm

    name = _TIMM_NAMES.get(architecture, architecture)
    made = timm.create_model(name, pretrained=False, in_chans=bands, num_classes=1)
    return OneLogit(made)


def timm_config(architecture: str) -> "PretrainedCfg":
    """Return what timm knows of an architecture's default weights: where they are published, names of the ends."""
    import timm

    known = timm.get_pretrained_cfg(_TIMM_NAMES.get(architecture, architecture))
    assert known is not None
    return known


def ends(architecture: str) -> Ends:
    """Return where the bands come in and the logit comes out."""
    if architecture == OWN:
        return Ends("stages.0", "head")
    known = timm_config(architecture)
    return Ends(f"network.{known.first_conv}", f"network.{known.classifier}")
