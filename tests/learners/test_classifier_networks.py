import subprocess
import sys

import pytest
import torch

from hyperderm.errors import ConfigError
from hyperderm.learners.classifier.config import ALEXNET_SIZE, WITHOUT_BATCH_NORM
from hyperderm.learners.classifier.networks import ARCHITECTURES, HeadDropout, build_classifier, has_batch_norm


def seeded(seed, *args, **kwargs):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build_classifier(*args, **kwargs)


def least(architecture):
    return ALEXNET_SIZE if architecture == "alexnet" else 32


@pytest.mark.parametrize(
    "architecture", [a for a in ARCHITECTURES if a not in ("densenet201", "resnet50", "efficientnet_b3", "vgg16")]
)
def test_one_logit_a_cube_that_depends_on_that_cube_and_every_band(architecture):
    net = seeded(0, architecture, "scratch", 7).eval()
    x = torch.randn(
        3, 7, least(architecture), least(architecture), generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    logits = net(x)
    assert logits.shape == (3,)
    torch.testing.assert_close(net(x[1:2]), logits[1:2], rtol=1e-4, atol=1e-5)
    logits[1].backward()
    assert (x.grad[1].abs().sum((1, 2)) > 0).all()
    assert x.grad[[0, 2]].abs().max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_trains(architecture):
    net = seeded(0, architecture, "scratch", 16)
    x = torch.randn(4, 16, least(architecture), least(architecture), generator=torch.Generator().manual_seed(0))
    net(x).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_one_seed_gives_one_network_and_pretraining_leaves_the_last_layer_alone():
    a, b, c = (seeded(seed, "small_cnn", "scratch").state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["head.weight"], c["head.weight"])
    scratch, trained = (seeded(3, "efficientnet_lite0", w).network.classifier for w in ("scratch", "imagenet"))
    assert torch.equal(scratch.weight, trained.weight)


def test_parameters_are_those_of_the_papers():
    """AlexNet (Krizhevsky 2014) has 61.1 million with three channels and a thousand classes: here other ends."""
    count = sum(p.numel() for p in build_classifier("alexnet", "scratch", 16).parameters())
    assert count == 61_100_840 + (16 - 3) * 64 * 11 * 11 - 999 * (4096 + 1)


def test_alexnet_is_only_known_from_scratch_and_draws_nothing():
    with pytest.raises(ConfigError, match="no file of alexnet is known"):
        build_classifier("alexnet", "imagenet")
    net, x = seeded(0, "alexnet", "scratch").train(), torch.rand(2, 16, 64, 64)
    assert torch.equal(net(x), net(x))


def test_networks_without_batch_norm_are_named():
    for architecture in ("small_cnn", "alexnet", "vgg16"):
        assert architecture in WITHOUT_BATCH_NORM
    assert not has_batch_norm(build_classifier("small_cnn", "scratch"))
    assert not has_batch_norm(build_classifier("alexnet", "scratch"))
    assert all(has_batch_norm(build_classifier(a, "scratch")) for a in ("resnet18", "densenet121", "efficientnet_lite0"))


def test_the_small_network_in_training_does_not_see_the_batch():
    net = seeded(0, "small_cnn", "scratch").train()
    x = torch.randn(8, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.cat([net(x[:3]), net(x[3:])]), net(x))


@pytest.mark.parametrize("size", [16, 20, 33, 64])
@pytest.mark.parametrize("bands", [3, 16, 31])
def test_the_small_network_takes_any_size_from_sixteen(size, bands):
    assert build_classifier("small_cnn", "scratch", bands)(torch.rand(2, bands, size, size)).shape == (2,)


def test_the_small_network_is_small():
    assert sum(p.numel() for p in build_classifier("small_cnn", "scratch").parameters()) == 81_249


def test_the_small_network_learns_a_spectral_and_a_spatial_task():
    """Which of two bands is brighter in the middle: nothing else differs, and levels vary more than the difference."""
    g = torch.Generator().manual_seed(0)
    label = torch.arange(64) % 2
    x = torch.randn(64, 16, 16, 16, generator=g) * 0.3 + torch.randn(64, 1, 1, 1, generator=g)
    x[label == 1, 3, 5:11, 5:11] += 0.6
    x[label == 0, 12, 5:11, 5:11] += 0.6
    net = seeded(0, "small_cnn", "scratch")
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    for step in range(60):
        rows = torch.arange(16) + 16 * (step % 2)  # the other half is never shown
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x[rows]), label[rows].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = ((net(x[32:]) > 0) == (label[32:] == 1)).float().mean()
    assert right > 0.9


@pytest.mark.parametrize("architecture", ["small_cnn", "resnet18", "densenet121", "efficientnet_lite0"])
def test_dropout_multiplies_what_the_last_layer_sees(architecture):
    x = torch.randn(4, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    net = seeded(0, architecture, "scratch", 16).eval()
    dropout, whole = HeadDropout(net, architecture), net(x)
    mask = torch.ones(4, dropout.features)
    mask[1], mask[2] = 0, 2
    with dropout.masked(mask):
        dropped = net(x)
    bias = [p for name, p in net.named_parameters() if name.endswith("bias")][-1]
    torch.testing.assert_close(dropped[[0, 3]], whole[[0, 3]])
    torch.testing.assert_close(dropped[1], bias[0])
    torch.testing.assert_close(dropped[2], 2 * whole[2] - bias[0], rtol=1e-4, atol=1e-5)
    assert torch.equal(net(x), whole)  # nothing is left of it


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown architecture 'resnet19'\. Did you mean 'resnet18'"):
        build_classifier("resnet19", "scratch")


def test_the_small_network_does_not_wait_for_timm():
    code = (
        "import sys; from hyperderm.learners.classifier.networks import build_classifier; "
        "build_classifier('small_cnn', 'scratch'); sys.exit('timm' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
