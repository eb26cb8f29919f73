"""Interpolation: every method has its closed form, partners share a diagnosis, and what has no effect is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from torch import Tensor

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.errors import ConfigError, StudyError
from hyperderm.learners.base import Compute
from hyperderm.learners.data import TrainData
from hyperderm.learners.interpolation import InterpolationConfig
from hyperderm.learners.interpolation.config import USED
from hyperderm.learners.interpolation.learner import InterpolationLearner, InterpolationSampler, nearest
from hyperderm.learners.interpolation.methods import restyled
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.spec import Drawing, Request
from hyperderm.training.resume import pack
from hyperderm.training.run import load_sampler
from tests.learners.test_contract import context, data, saved
from tests.learning import built
from tests.training.tiny import CPU

SMALL = {"copies": {}, "average": {"partners": 3}, "mixup": {}, "spectral_mixup": {}, "smote": {"dimensions": 3}}
COUNT = 12


def experiment(method: str, flips: bool = True, **learner) -> Experiment:
    return Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=16, diagnoses="all", flips=flips),
        learner=InterpolationConfig(method=method, **SMALL[method] | learner),
        training=TrainingConfig(batch_size=4, images=8, validate_every=8, validation_samples=8),
    )


def fitted(method: str, held: TrainData | None = None, **changes) -> InterpolationLearner:
    return built(experiment(method, **changes), held or data(), Compute(CPU))


def drawn(sampler: InterpolationSampler, count: int = COUNT, seed: int = 3) -> list[Tensor]:
    """The rows (n, P), flips (n, 2) and draws of the first cubes of a set."""
    each = [sampler.inputs(seed, index, None) for index in range(count)]
    return [torch.cat(rows) for rows in zip(*each, strict=True)]


def cubes_and_partners(method: str, **changes) -> tuple[Tensor, list[Tensor], Tensor, TrainData]:
    """Cubes without flips, their train cubes, both in reflectance float64, what was drawn for them, and the data."""
    held = data()
    sampler = fitted(method, held, flips=False, **changes).sampler()
    rows, sides, draw = drawn(sampler)
    assert not sides.any()
    train = held.train.reflectance.double()
    return sampler.sample(3, range(COUNT), None).double(), [train[row] for row in rows.unbind(1)], draw, held


def in_range(cubes: Tensor, held: TrainData) -> Tensor:
    """What the sampler does to values outside train's range of a band."""
    low, high = (end((0, 2, 3), keepdim=True).double() for end in (held.train.reflectance.amin, held.train.reflectance.amax))
    return cubes.clamp(low, high)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_copies_differ_from_train_by_noise_of_the_given_deviation():
    cubes, (source,), _, held = cubes_and_partners("copies", noise=0.05)
    difference = held.scaling.forward(cubes) - held.scaling.forward(source)
    size = difference.numel() ** 0.5
    assert float(difference.mean()) == pytest.approx(0, abs=4 * 0.05 / size)
    assert float(difference.std()) == pytest.approx(0.05, abs=4 * 0.05 / (2**0.5 * size))
    assert (
        float(torch.corrcoef(difference.flatten(1)).fill_diagonal_(0).abs().max()) < 0.08
    )  # each cube has noise of its own


def test_the_average_is_the_blurred_mean_of_different_cubes():
    cubes, partners, _, _ = cubes_and_partners("average", partners=3, blur=1.5)
    mean = torch.stack(partners).mean(0).numpy()
    close(cubes, torch.from_numpy(gaussian_filter(mean, (0, 0, 1.5, 1.5), mode="reflect")))
    assert all(len(set(rows)) == 3 for rows in drawn(fitted("average").sampler(), 40)[0].tolist())


def test_the_average_of_constant_cubes_is_constant():
    held, levels = data(), torch.linspace(0.1, 0.9, 16)
    flat = held.train.reflectance * 0 + levels[None, :, None, None]
    held = replace(held, train=replace(held.train, reflectance=flat))
    cubes = fitted("average", held, blur=2.0).sample(0, range(3), None)
    close(cubes, levels[None, :, None, None].expand_as(cubes))


def test_mixup_lies_on_the_segment_at_the_share_that_was_drawn():
    cubes, (a, b), share, _ = cubes_and_partners("mixup")
    close(cubes, share * a + (1 - share) * b)
    assert float((a - b).abs().amax((1, 2, 3)).min()) > 0.01


@pytest.mark.parametrize("alpha", [0.4, 3.0])
def test_shares_have_the_moments_of_beta(alpha):
    """Beta(α, α) has mean 1/2 and variance 1 / (4 (2α + 1))."""
    share = drawn(fitted("mixup", alpha=alpha).sampler(), 1500)[2]
    assert float(share.mean()) == pytest.approx(0.5, abs=0.04)
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


def test_spectral_mixup_has_the_mixed_statistics_and_the_form_of_one_cube():
    cubes, (a, b), share, held = cubes_and_partners("spectral_mixup")
    whole = restyled(a, b, share)
    close(cubes, in_range(whole, held))
    inside = (in_range(whole, held) == whole).flatten(1).all(1)
    assert inside.sum() > len(cubes) / 2
    cubes, a, b, share = (each[inside] for each in (cubes, a, b, share))
    for statistic in (Tensor.mean, Tensor.std):
        made, own, other = (statistic(each, (2, 3), keepdim=True) for each in (cubes, a, b))
        close(made, share * own + (1 - share) * other)
    made, own = ((each - each.mean((2, 3), keepdim=True)) / each.std((2, 3), keepdim=True) for each in (cubes, a))
    torch.testing.assert_close(made, own, atol=1e-4, rtol=0)


def test_spectral_mixup_leaves_a_constant_band_constant():
    """A rounding error in one pixel is no structure that could be amplified to the deviation of the other cube."""
    levels = torch.linspace(-0.9, 0.9, 7)[:, None, None, None]
    a = levels.repeat(1, 1, 15, 15)
    a[3:, 0, 4, 4] = torch.nextafter(a[3:, 0, 4, 4], torch.tensor(1.0))
    b = torch.linspace(-1, 1, 225).view(1, 1, 15, 15).expand_as(a)
    close(restyled(a, b, torch.full((7, 1, 1, 1), 0.25)), (0.25 * levels).expand_as(a))


def test_smote_goes_a_part_of_the_way_inside_the_components():
    cubes, (a, b), u, held = cubes_and_partners("smote", dimensions=3)
    train = held.scaling.forward(held.train.reflectance.double()).flatten(1)
    axes = torch.linalg.svd(train - train.mean(0), full_matrices=False)[2][:3]
    a, b, cubes = (held.scaling.forward(each).flatten(1) for each in (a, b, cubes))
    way = (b - a) @ axes.T @ axes
    torch.testing.assert_close(cubes - a, u[:, :, 0, 0] * way, atol=2e-5, rtol=0)
    assert bool(((cubes - a).norm(dim=1) < (b - a).norm(dim=1)).all())
    assert float((way - (b - a)).norm(dim=1).min()) > 0.1  # the components do not hold all


def test_the_partners_of_smote_are_its_nearest_neighbours():
    """Checked by a k-d tree of scipy, within each diagnosis."""
    features = np.random.default_rng(0).normal(size=(20, 4))
    kinds = np.array([0, 1, 1, 0] * 5)
    found = nearest(features, kinds, 3)
    for kind in (0, 1):
        rows = np.flatnonzero(kinds == kind)
        _, found_there = cKDTree(features[rows]).query(features[rows], k=4)
        assert (found[rows] == rows[found_there[:, 1:]]).all()  # the nearest of all is the row itself
    assert nearest(features[:4], np.array([0, 0, 0, 1]), 9).tolist()[3] == [-1, -1]


def test_smote_measures_distances_along_the_components():
    held = data()
    sampler = fitted("smote", held, neighbours=1, dimensions=4).sampler()
    train = held.scaling.forward(held.train.reflectance.double()).flatten(1)
    scores = train @ torch.linalg.svd(train - train.mean(0), full_matrices=False)[2][:4].T
    far = torch.tensor([[a != b for b in held.train.diagnoses] for a in held.train.diagnoses])
    distances = torch.cdist(scores, scores).fill_diagonal_(torch.inf).masked_fill(far, torch.inf)
    assert sampler.network.near[:, 0].tolist() == distances.argmin(1).tolist()
    assert all(distances[a].argmin() == b for a, b in drawn(sampler, 40)[0].tolist())


@pytest.mark.parametrize("method", USED)
def test_a_cube_is_flipped_as_drawn(method):
    held = data()
    turned = fitted(method, held).sampler()
    sides = drawn(turned, 30)[1]
    assert set(map(tuple, sides.tolist())) == {(False, False), (False, True), (True, False), (True, True)}
    plain = fitted(method, held, flips=False).sample(3, range(8), None)
    for found, straight, (across, along) in zip(turned.sample(3, range(8), None), plain, sides.tolist(), strict=False):
        straight = straight.flip(-1) if across else straight
        assert torch.equal(found, straight.flip(-2) if along else straight)


@pytest.mark.parametrize("method", USED)
def test_a_cube_is_made_of_one_diagnosis(method):
    """It is the diagnosis that was asked for, or else that of any train cube. Here melanomas are dark and nevi bright."""
    held = data()
    melanoma = torch.tensor([name == "melanoma" for name in held.train.diagnoses])
    rows = drawn(fitted(method, held).sampler(), 60)[0]
    assert {tuple(sorted(set(each))) for each in melanoma[rows].tolist()} == {(False,), (True,)}
    shades = torch.where(melanoma, 0.2, 0.8)[:, None, None, None] + 0.01 * held.train.reflectance
    held = replace(held, train=replace(held.train, reflectance=shades), scaling=Scaling.fit(shades))
    learner = fitted(method, held, conditioning="class")
    assert learner.classes == ("melanoma", "nevus")
    levels = learner.sample(5, range(8), torch.tensor([0, 1] * 4)).mean((1, 2, 3))
    assert float(levels[::2].max()) < 0.25
    assert float(levels[1::2].min()) > 0.75


@pytest.mark.parametrize("method", USED)
def test_a_cube_is_known_by_seed_and_index_and_comes_back_from_a_checkpoint(method):
    made, held = experiment(method), data()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    learner = built(made, held, Compute(CPU))
    whole = learner.sample(5, range(COUNT), None)
    assert torch.equal(before, torch.get_rng_state())
    sampler = load_sampler(saved(pack(learner, made, held, context())))
    assert torch.equal(sampler.sample(5, [7, 2], None), whole[[7, 2]])
    assert len(torch.unique(torch.cat([whole, sampler.sample(6, range(COUNT), None)]).flatten(1), dim=0)) == 2 * COUNT


def test_a_checkpoint_of_other_cubes_is_refused():
    made, held = experiment("mixup"), data()
    state = saved(pack(built(made, held, Compute(CPU)), made, held, context()))
    state["learner"]["ema"]["cubes"] = state["learner"]["ema"]["cubes"][..., :8, :8]
    with pytest.raises(StudyError, match=r"its cubes have the shape \[16, 8, 8\]"):
        load_sampler(state)


@pytest.mark.parametrize(("method", "least"), [("copies", 1), ("average", 3), *((name, 2) for name in list(USED)[2:])])
def test_a_diagnosis_with_too_few_cubes_is_refused(method, least):
    held = data()
    nevi, melanomas = (
        [row for row, own in enumerate(held.train.diagnoses) if own == name] for name in ("nevus", "melanoma")
    )
    for count in range(1, 4):
        few = replace(held, train=held.train.chosen(nevi + melanomas[:count]))
        if count >= least:
            fitted(method, few)
            continue
        with pytest.raises(
            ConfigError, match=rf"makes a cube from {least} train cubes .* holds {count} of melanoma"
        ) as caught:
            fitted(method, few)
        assert ("learner.partners=2" if count == 2 else "learner.method=copies") in caught.value.remedy


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"drawing": Drawing(truncation=1.5)},
            "--truncation 1.5: this generator makes cubes from train cubes, and draws no",
        ),
        ({"photographs": True}, "makes cubes from train cubes, not from photographs"),
        ({"learnt": ["melanoma", "nevus"]}, "makes cubes from train cubes and learnt 2 diagnoses without being told"),
    ],
)
def test_a_set_that_it_cannot_make_is_refused(change, told):
    request = Request({"melanoma": 2}, ["melanoma"], {"melanoma": 5})
    learner = experiment("copies").learner
    learner.check_request(request)
    with pytest.raises(ConfigError, match=told):
        learner.check_request(replace(request, **change))


CHANGED = {"noise": 0.1, "partners": 5, "blur": 2.0, "alpha": 1.0, "dimensions": 4, "neighbours": 3}


@pytest.mark.parametrize("method", USED)
def test_settings_of_other_methods_are_refused(method):
    assert set(CHANGED) == {name for names in USED.values() for name in names}
    for field, value in CHANGED.items():
        change = {f"learner.{field}": value}
        if field in USED[method]:
            assert getattr(experiment(method).override(change).learner, field) == value
            continue
        users = " or ".join(name for name, fields in USED.items() if field in fields)
        with pytest.raises(ConfigError, match=rf"learner.{field} = {value} with .* no effect. Use learner.method={users},"):
            experiment(method).override(change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"training.objective": "held_out/spectral/coverage"}, "interpolation is refused: it is fitted at once"),
        ({"data.photographs": "rgb", "learner.space": "abundance", "learner.unmixing": "net"}, "interpolation is refused"),
        ({"learner.noise": 0.0}, "learner.noise = 0.0 is refused"),
        ({"learner.method": "mean"}, 'learner.method = "mean" is refused'),
    ],
)
def test_what_it_cannot_do_is_refused(change, told):
    with pytest.raises(ConfigError, match=told):
        experiment("copies").override(change)
