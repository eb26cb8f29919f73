"""Melanoma classifiers with one logit for each cube, from scratch or from weights on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from hyperderm.learners.classifier.architectures import ends, network
from hyperderm.learners.classifier.config import ARCHITECTURES
from hyperderm.learners.classifier.pretrained import load_weights

__all__ = ["ARCHITECTURES", "HeadDropout", "build_classifier", "has_batch_norm"]


def build_classifier(architecture: str, weights: str, bands: int = 16) -> nn.Module:
    """Return a classifier: cubes (N, bands, H, W) -> (N,) logits of melanoma.

    The network is always initialised from torch's global random generator, which the caller forks and seeds. So with one
    seed the last layer starts from the same numbers, from scratch as well as pre-trained.

    A pre-trained RGB stem is adapted to B bands as in timm: its weights are repeated along the bands and scaled by 3/B. This
    equals the unchanged network on the folded cube x'_r = (3/B) Σ_{c ≡ r mod 3} x_c (METHODS section 5).

    Args:
        architecture: one of `ARCHITECTURES`.
        weights: `scratch`, `imagenet` or a file; see `pretrained.load_weights`, which also gives the file's sha256.
        bands: B.

    Raises:
        ConfigError: the architecture is unknown, or the weights are absent or do not fit.
    """
    module = network(architecture, bands)
    if (pretrained := load_weights(architecture, weights, bands)) is not None:
        module.load_state_dict(pretrained.state, strict=False)  # all but the head, which load_weights has proved
    return module


class HeadDropout:
    """Dropout on the input of the last layer, with masks that the caller draws.

    So the mask of a sample does not depend on the worker that holds the sample.

    Args:
        module: a network made by `build_classifier`.
        architecture: name of the architecture of `module`.
    """

    def __init__(self, module: nn.Module, architecture: str) -> None:
        head = module.get_submodule(ends(architecture).head)
        assert isinstance(head, nn.Linear)
        self.head, self.features = head, head.in_features
        self._mask: Tensor | None = None
        head.register_forward_pre_hook(self._apply)

    @contextmanager
    def masked(self, mask: Tensor) -> Iterator[None]:
        """Multiply the features of the next forward pass, (n, features), by `mask`."""
        self._mask = mask
        try:
            yield
        finally:
            self._mask = None

    def _apply(self, head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        return None if self._mask is None else (inputs[0] * self._mask.to(inputs[0]),)


def has_batch_norm(module: nn.Module) -> bool:
    """Return whether any layer's output depends on the other cubes of a training batch."""
    return any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm) for m in module.modules())
