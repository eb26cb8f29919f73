"""Penalties that keep a critic smooth: on its gradient (Wasserstein, R1, R2), and on its scores (LeCam)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hyperderm.learners.base import Mean


def gradient_penalty(d: Callable[..., Tensor], x: Tensor, labels: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
    """Return E (‖∇D(x)‖₂ − 1)² and E ‖∇D(x)‖₂, with the norm over the flattened sample (Gulrajani et al. 2017, eq. 3).

    Args:
        d: the critic.
        x: (n, B, H, W) points on lines between real and generated cubes.
        labels: further arguments of `d` beside x, such as classes.
    """
    x = x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(d(x, *labels).sum(), x, create_graph=True)
    norm = (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()  # (n,)
    return (norm - 1).square().mean(), norm.mean()


def zero_centred_penalty(d: Callable[..., Tensor], x: Tensor, labels: Sequence[Tensor] = ()) -> Tensor:
    """Return E ‖∇D(x)‖₂² over the flattened sample: R1 at real cubes, R2 at generated ones (Mescheder et al. 2018, eq. 9).

    The caller multiplies it by γ/2. It can be differentiated by the weights of `d`; x is detached and stays as it is.

    Args:
        d: the critic. Of a critic of patches, which returns (n, L), D(x) is the mean over the patches.
        x: (n, B, H, W) real or generated cubes.
        labels: further arguments of `d` beside x, such as classes.
    """
    x = x.detach().requires_grad_(True)
    scores = d(x, *labels)  # (n,) or (n, L)
    (gradient,) = torch.autograd.grad(scores.view(len(x), -1).mean(1).sum(), x, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()


class LeCam(nn.Module):
    """LeCam regularisation: scores are drawn to the moving averages of the other side (Tseng et al. 2021, eq. 3).

    R = E (D(x) − α_F)² + E (D(G(z)) − α_R)², where α_R and α_F are exponential moving averages of the critic's mean score of
    real and of generated cubes. The caller multiplies R by λ (1e-4 … 3e-4 in the paper) and adds it to the critic's loss.
    The authors' code cuts off the squares' negative sides; this is the paper's equation, without it.

    The paper does not say how the averages begin. Here they are bias-corrected as in Adam: after k updates with the means
    m_1 … m_k, α is Σ decay^(k−i) m_i / Σ decay^(k−i), so the first update takes over its mean.

    Args:
        decay: weight that an average keeps at each update; the paper's 0.99.
        mean: the mean over the workers (`Compute.mean`), so that all of them hold the averages of the whole batch.

    Attributes:
        real: α_R, () buffer, in the state dict.
        fake: α_F, () buffer, in the state dict.
        updates: k, () int64 buffer, in the state dict.
    """

    real: Tensor
    fake: Tensor
    updates: Tensor

    def __init__(self, decay: float = 0.99, mean: Mean = lambda x: x) -> None:
        super().__init__()
        self.decay, self.mean = decay, mean
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, on_real: Tensor, on_fake: Tensor) -> None:
        """Move the averages towards this step's scores; called once a step, before `forward`.

        Args:
            on_real: (N,) or (N, L) scores of this worker's real cubes.
            on_fake: scores of its generated cubes.
        """
        real, fake = self.mean(torch.stack([on_real.detach().mean(), on_fake.detach().mean()]).to(self.real))
        self.updates += 1
        weight = ((1 - self.decay) / (1 - torch.pow(self.decay, self.updates.double()))).to(self.real)
        self.real.lerp_(real, weight)
        self.fake.lerp_(fake, weight)

    def forward(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Return R of this worker's scores, a mean over samples and patches."""
        return (on_real - self.fake).square().mean() + (on_fake - self.real).square().mean()
