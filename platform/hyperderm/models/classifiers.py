"""Melanoma classifiers: one logit a cube, from scratch or from weights on this machine."""

from torch import nn

from hyperderm.models.architectures import ARCHITECTURES, network
from hyperderm.models.pretrained import load_weights

__all__ = ["ARCHITECTURES", "build_classifier", "has_batch_norm"]


def build_classifier(architecture: str, weights: str, bands: int = 16, dropout: float = 0.0) -> nn.Module:
    """Return a classifier: (N, bands, H, W) -> (N,) logits of melanoma.

    The network is initialised from torch's global generator, which the caller forks and seeds, whatever the weights: with
    one seed the last layer starts from the same numbers from scratch and pre-trained.

    A pre-trained RGB stem meets B bands as timm does it: its weights repeated along the bands, scaled 3/B. That is the
    untouched network on the folded cube x'_r = (3/B) Σ_{c ≡ r mod 3} x_c (METHODS section 5).

    Args:
        architecture: one of `ARCHITECTURES`.
        weights: `scratch`, `imagenet` or a file; see `pretrained.load_weights`, which also gives the file's sha256.
        bands: B.
        dropout: before the last layer.

    Raises:
        ConfigError: unknown architecture; weights that are absent or do not fit.
    """
    module = network(architecture, bands, dropout)
    if (pretrained := load_weights(architecture, weights, bands)) is not None:
        module.load_state_dict(pretrained.state, strict=False)  # all but the head, which load_weights has proved
    return module


def has_batch_norm(module: nn.Module) -> bool:
    """Return whether any layer's output depends on the other cubes of a training batch."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())
