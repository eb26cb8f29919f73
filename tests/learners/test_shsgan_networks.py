import numpy as np
import pytest
import torch
from torch import nn

from hyperderm.learners.critics import Critic, fft_modulus
from hyperderm.learners.shsgan.networks import UNetGenerator

NORMS = ("none", "spectral", "layer", "batch")


@pytest.mark.parametrize("size", [16, 32, 64, 96])
@pytest.mark.parametrize("bands", [8, 16, 31])
def test_unet_gives_a_cube_of_the_image_s_size(size, bands):
    cube = UNetGenerator(bands, 4)(torch.rand(2, 3, size, size) * 2 - 1)
    assert cube.shape == (2, bands, size, size)
    assert cube.abs().max() <= 1


def convolutions(module: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_channels, m.out_channels) for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))]


def test_channels_at_the_paper_s_width():
    unet = UNetGenerator(16, 64)
    assert convolutions(unet.enc1) == [(3, 64), (64, 64)]
    assert convolutions(unet.enc2) == [(64, 128), (128, 128)]
    assert convolutions(unet.enc3) == [(128, 256), (256, 256)]
    assert convolutions(unet.mid) == [(256, 512), (512, 512)]
    assert convolutions(unet.dec3) == [(512 + 256, 256), (256, 256)]
    critic = Critic(16, 32, 3, True, "none")
    stages = [(1, 32), (32, 64), (64, 128)]
    assert convolutions(critic.spatial) == convolutions(critic.spectral) == stages
    assert critic.head.in_features == 256
    kernels = [m.kernel_size for arm in (critic.spatial, critic.spectral) for m in arm if isinstance(m, nn.Conv3d)]
    assert all(3 <= along <= 5 and space == (4, 4) for along, *space in map(list, kernels) for space in [tuple(space)])


def test_the_spectral_arm_strides_along_the_bins_once():
    critic = Critic(16, 4, 3, True, "none")
    strides = [m.stride[0] for m in critic.spectral if isinstance(m, nn.Conv3d)]
    assert sorted(strides) == [1, 1, 2]
    assert fft_modulus(torch.rand(1, 16, 4, 4)).shape[1] == 9


@pytest.mark.parametrize("size", [16, 32, 64, 96])
@pytest.mark.parametrize("bands", [7, 8, 16, 31])
@pytest.mark.parametrize(("dimensions", "fft_arm"), [(3, True), (3, False), (2, True)])
def test_critic_scores_each_cube(size, bands, dimensions, fft_arm):
    critic = Critic(bands, 4, dimensions, fft_arm, "none")
    x = torch.rand(3, bands, size, size)
    scores = critic(x)
    assert scores.shape == (3,)
    torch.testing.assert_close(critic(x[1:2]), scores[1:2])  # no cube sees another


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("width", [4, 8])
def test_batch_norm_follows_every_convolution_but_the_first(dimensions, width):
    """Width 8 at 16 bands: the last 2-D stage has as many inputs as the cube has bands."""
    critic = Critic(16, width, dimensions, True, "batch")
    for arm in (critic.spatial, critic.spectral):
        kinds = [type(m).__name__[:-2] for m in arm]
        assert kinds == ["Conv", "LeakyRe", *["Conv", "BatchNorm", "LeakyRe"] * 2]


def test_spectral_norm_bounds_every_layer():
    critic = Critic(16, 4, 3, True, "spectral").train()
    with torch.no_grad():
        for p in critic.parameters():
            p.mul_(10)
        for _ in range(50):
            critic(torch.rand(1, 16, 16, 16))
    critic.eval()
    layers = [m for m in critic.modules() if isinstance(m, (nn.Conv3d, nn.Linear))]
    assert len(layers) == 7
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert float(largest) == pytest.approx(1, abs=0.02)


def test_exposure_of_the_picture_reaches_the_cube():
    """Without norm on the way through the outermost skip a brighter picture changes the cube's level at once."""
    unet = UNetGenerator(16, 8)
    normed = [type(m).__name__ for stage in (unet.enc1, unet.dec1) for m in stage.modules() if "Norm" in type(m).__name__]
    assert not normed
    assert [type(m).__name__ for m in unet.mid.modules()].count("InstanceNorm2d") == 2
    flat = [unet(torch.full((1, 3, 16, 16), level)).mean((2, 3)) for level in (-0.5, 0.5)]
    assert (flat[1] - flat[0]).abs().max() > 1e-3


def test_no_frame_at_the_border():
    """A picture without structure gives a cube without structure: zero padding would draw its border."""
    torch.random.default_generator.manual_seed(0)
    cube = UNetGenerator(16, 8)(torch.full((1, 3, 32, 32), 0.3))
    assert cube.std((2, 3)).max() < 1e-5


@pytest.mark.parametrize("bands", [8, 16, 31])
def test_modulus_is_numpy_s(bands):
    x = np.random.default_rng(0).normal(size=(2, bands, 3, 4))
    expected = np.abs(np.fft.rfft(x, axis=1)) / np.sqrt(bands)
    np.testing.assert_allclose(fft_modulus(torch.from_numpy(x)).numpy(), expected, atol=1e-4)


def test_modulus_has_finite_second_derivatives_at_zero():
    x = torch.zeros(1, 16, 2, 2, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(fft_modulus(x).square().sum() + fft_modulus(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum() + first.sum(), x)
    assert torch.isfinite(first).all()
    assert torch.isfinite(second).all()


def test_modulus_of_half_precision_is_computed_in_single():
    assert fft_modulus(torch.rand(1, 16, 2, 2).bfloat16()).dtype == torch.float32
