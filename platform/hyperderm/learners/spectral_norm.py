"""Spectral norm (Miyato et al. 2018) of 2-D convolutions, without needless passes over the weights.

It computes what `torch.nn.utils.parametrizations.spectral_norm` computes, and has the same parameters and buffers under the
same names, so that state dicts fit both. Three things differ. The matrix is a view of the weights in `channels_last` memory
too. In training, the largest singular value is the length of the last product of the power iteration, which saves a product.
The gradient is written out, once: a penalty on the gradient of the input is possible, a second derivative by the weights is
not. In bf16 autocast everything here stays in the precision of the weights.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

Convolution = TypeVar("Convolution", nn.Conv2d, nn.ConvTranspose2d)

FIRST_ITERATIONS = 15
"""Power iterations when the norm is applied, as in torch."""


def spectral_norm(convolution: Convolution) -> Convolution:
    """Divide the weight of a convolution by an estimate of its largest singular value, and return the convolution.

    The weight is seen as a matrix with a row for each output channel. Each access to `convolution.weight` in training mode
    improves the estimate by one power iteration, which changes the buffers. In evaluation mode the buffers stay as they are.
    """
    parametrize.register_parametrization(convolution, "weight", _SpectralNorm(convolution))
    return convolution


class _SpectralNorm(nn.Module):
    """The parametrization; buffers `_u` (O,) and `_v` (I·kh·kw,) are the estimated first singular vectors."""

    _u: Tensor
    _v: Tensor

    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.rows = 1 if isinstance(convolution, nn.ConvTranspose2d) else 0
        weight = convolution.weight.detach()
        outputs = weight.shape[self.rows]
        self.register_buffer("_u", normalize(weight.new_empty(outputs).normal_(0, 1), dim=0))
        self.register_buffer("_v", normalize(weight.new_empty(weight.numel() // outputs).normal_(0, 1), dim=0))
        for _ in range(FIRST_ITERATIONS):
            self._largest(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight divided by its estimated largest singular value."""
        with torch.autocast(weight.device.type, enabled=False):
            sigma = self._largest(weight.detach())
            # The buffers change in the next pass, which may come before this pass is differentiated.
            u, v = self._u.clone(), self._v.clone()
            scaled: Tensor = _Scaled.apply(weight, self._like(u, 0, weight), self._like(v, 1, weight), sigma)
        return scaled

    @torch.no_grad()
    def _largest(self, weight: Tensor) -> Tensor:
        """Return the largest singular value, (); in training, improve the singular vectors before."""
        inputs, sides = weight.shape[1 - self.rows], weight.shape[2:]
        last = _is_channels_last(weight)
        if self.rows:
            matrix, reordered = weight.movedim(1, -1).reshape(-1, weight.shape[1]).T, False  # (O, I·kh·kw)
        elif last:
            matrix, reordered = weight.movedim(1, -1).flatten(1), True  # (O, kh·kw·I), a view
        else:
            matrix, reordered = weight.flatten(1), False
        v = self._v.view(inputs, *sides).movedim(0, -1).flatten() if reordered else self._v
        if not self.training:
            return torch.dot(self._u, torch.mv(matrix, v))
        self._u.copy_(normalize(torch.mv(matrix, v), dim=0, eps=1e-12))
        product = torch.mv(matrix.T, self._u)
        sigma = torch.linalg.vector_norm(product)
        v = product / sigma.clamp_min(1e-12)
        self._v.copy_(v.view(*sides, inputs).movedim(-1, 0).flatten() if reordered else v)
        return sigma

    def _like(self, vector: Tensor, side: int, weight: Tensor) -> Tensor:
        """Return a singular vector in a shape that broadcasts to the weight: `side` 0 for u, 1 for v."""
        if side == 0:
            return vector.view(-1, 1, 1, 1).movedim(0, self.rows)
        shape = list(weight.shape)
        shape[self.rows] = 1
        v = vector.view(shape)
        return v.contiguous(memory_format=torch.channels_last) if _is_channels_last(weight) else v


class _Scaled(torch.autograd.Function):
    """weight / sigma, where sigma = u·W·v depends on the weight and u and v are constants."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, u: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
        scaled = weight / sigma
        ctx.save_for_backward(scaled, u, v, sigma)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: BackwardCFunction, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return (g − ⟨g, scaled⟩ u v) / sigma."""
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        scaled, u, v, sigma = saved
        if _is_channels_last(scaled):
            g = gradients[0].contiguous(memory_format=torch.channels_last)
            along = torch.dot(g.movedim(1, -1).flatten(), scaled.movedim(1, -1).flatten())
        else:
            g = gradients[0].contiguous()
            along = torch.dot(g.flatten(), scaled.flatten())
        return (g / sigma).addcmul_(u * (-along / sigma), v), None, None, None


def _is_channels_last(weight: Tensor) -> bool:
    return not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)
