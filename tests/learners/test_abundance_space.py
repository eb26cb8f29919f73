"""Abundance space: mixtures come back, samples land on the simplex, and drawn residuals are like those of train."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from hyperderm.config import DataConfig, Experiment, TrainingConfig
from hyperderm.errors import ConfigError
from hyperderm.learners.abundance_space import AbundanceSpace, ResidualField, on_simplex
from hyperderm.learners.dcgan import DcganConfig
from hyperderm.learners.spec import SPACE, START, UNMIXING
from hyperderm.learners.unmixer import UnmixerConfig
from hyperderm.learners.vae import VaeConfig
from hyperderm.store.manifest import Manifest
from hyperderm.training.checkpoint import LATEST
from hyperderm.training.context import local
from hyperderm.training.run import run
from tests.training.blobs import tiny_data

ENDS = np.array([[0.9, 0.1, 0.2, 0.3], [0.1, 0.8, 0.3, 0.1], [0.2, 0.2, 0.2, 0.9]])


def abundances(count: int = 5, size: int = 8, ends: int = 3) -> torch.Tensor:
    drawn = np.random.default_rng(0).dirichlet(np.ones(ends), (count, size, size))
    return torch.from_numpy(drawn).movedim(3, 1)


def mixed(shares: torch.Tensor) -> torch.Tensor:
    return torch.einsum("rb,nrhw->nbhw", torch.from_numpy(ENDS), shares)


def experiment(**learner) -> Experiment:
    return Experiment(
        name="tiny",
        profile="small",
        data=DataConfig(size=16, diagnoses="all"),
        learner=VaeConfig(generator_width=4, encoder_width=4, noise_dim=8, **learner),
        training=TrainingConfig(batch_size=4, images=16, validate_every=8, validation_samples=8),
    )


# --- the map


def test_mixtures_become_their_abundances_and_come_back():
    shares = abundances()
    space = AbundanceSpace.fit(mixed(shares), ENDS, "given")
    assert space.channels == 3
    torch.testing.assert_close(space.forward(mixed(shares)), 2 * shares - 1)
    torch.testing.assert_close(space.inverse(2 * shares - 1), mixed(shares))
    assert space.forward(mixed(shares).float()).dtype == torch.float32


def test_a_sample_is_projected_on_the_simplex():
    """The nearest abundances, by a general solver."""
    points = torch.from_numpy(np.random.default_rng(1).normal(0.3, 0.8, (6, 4, 1, 1)))
    found = on_simplex(points)
    for point, near in zip(points[:, :, 0, 0].numpy(), found[:, :, 0, 0].numpy(), strict=True):
        least = minimize(
            lambda a, point=point: np.square(a - point).sum(),
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
            options={"ftol": 1e-14},
        )
        np.testing.assert_allclose(near, least.x, atol=1e-6)
    torch.testing.assert_close(on_simplex(abundances()), abundances())
    torch.testing.assert_close(on_simplex(torch.full((1, 3, 1, 1), -7.0)), torch.full((1, 3, 1, 1), 1 / 3))


def test_losses_of_reflectance_reach_the_network_through_it():
    space = AbundanceSpace.fit(mixed(abundances()), ENDS, "given")
    seen = (2 * abundances() - 1).requires_grad_()
    assert torch.autograd.gradcheck(space.inverse, (seen[:1, :, :2, :2].detach().requires_grad_(),))
    space.inverse(seen).square().sum().backward()
    assert float(seen.grad.abs().sum()) > 0


# --- what mixtures leave out


def fields(count: int, size: int = 16, seed: int = 0) -> torch.Tensor:
    """Residuals of two independent fields, a smooth one that acts on bands 0 and 1, and white noise of all bands."""
    rng = np.random.default_rng(seed)
    along = np.minimum(np.arange(size), size - np.arange(size))
    filters = np.exp(-(along[:, None] ** 2 + along[None] ** 2) / 8.0)
    white = rng.standard_normal((count, size, size))
    smooth = np.fft.ifft2(np.fft.fft2(white) * np.sqrt(filters / filters.mean())).real
    noise = 0.1 * rng.standard_normal((count, 4, size, size))
    direction = np.array([0.03, 0.04, 0.0, 0.0]) * 20
    return torch.from_numpy(direction[:, None, None] * smooth[:, None] + noise + np.array([0.1, 0, 0, -0.2])[:, None, None])


def test_drawn_residuals_have_train_s_mean_covariance_and_structure():
    train = fields(600)
    field = ResidualField.fit(train)
    drawn = torch.stack([field.draw(3, index, 16) for index in range(600)])
    torch.testing.assert_close(drawn.mean((0, 2, 3)), train.mean((0, 2, 3)), atol=0.03, rtol=0)
    one, two = (torch.cov(each.movedim(1, 0).flatten(1)) for each in (train, drawn))
    torch.testing.assert_close(two, one, atol=0.06 * float(one.abs().max()), rtol=0)

    def neighbours(x: torch.Tensor) -> torch.Tensor:
        """Correlation of a band with itself one pixel further."""
        x = x - x.mean((0, 2, 3), keepdim=True)
        return (x[..., 1:] * x[..., :-1]).mean((0, 2, 3)) / x.square().mean((0, 2, 3))

    torch.testing.assert_close(neighbours(drawn), neighbours(train), atol=0.05, rtol=0)
    assert neighbours(train)[0] > 0.5 > 0.1 > abs(neighbours(train)[3])


def test_a_residual_is_known_by_seed_and_index_and_none_of_train_s():
    train = fields(10)
    field = ResidualField.fit(train)
    assert torch.equal(field.draw(1, 5, 16), field.draw(1, 5, 16))
    assert not torch.equal(field.draw(1, 5, 16), field.draw(1, 6, 16))
    assert not torch.equal(field.draw(1, 5, 16), field.draw(2, 5, 16))
    drawn = field.draw(1, 5, 16)
    correlations = [np.corrcoef(drawn.flatten(), each.flatten())[0, 1] for each in train]
    assert max(map(abs, correlations)) < 0.5


def test_a_few_pixels_many_times_brighter_are_no_noise():
    train = fields(20)
    bright = train.clone()
    bright[::4, :, 3:5, 3:5] += 8.0
    clean, marred = (ResidualField.fit(each).draw(0, 0, 16).std() for each in (train, bright))
    assert float(marred / clean) == pytest.approx(1.0, abs=0.1)


def test_residuals_of_one_value_are_drawn_as_that_value():
    field = ResidualField.fit(torch.full((3, 4, 8, 8), 0.25, dtype=torch.float64))
    torch.testing.assert_close(field.draw(0, 0, 8), torch.full((4, 8, 8), 0.25, dtype=torch.float64))


def test_made_cubes_are_mixtures_with_residuals_and_the_same_after_a_checkpoint():
    train = mixed(abundances()) + 0.01 * torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    space = AbundanceSpace.fit(train, ENDS, "given")
    seen = space.forward(train)
    made = space.made(seen, 7, [4, 1, 0, 2, 3])
    expected = space.inverse(seen) + torch.stack([space.residual.draw(7, i, 8) for i in (4, 1, 0, 2, 3)])
    torch.testing.assert_close(made, expected)
    again = AbundanceSpace.from_state(json.loads(json.dumps(space.state_dict())))
    assert torch.equal(again.made(seen, 7, [4, 1, 0, 2, 3]), made)
    assert again.unmixing == "given"


# --- whose endmembers


def test_endmembers_are_found_among_the_pixels_of_train_alone():
    made, data = experiment(space="abundance", endmembers=3), tiny_data()
    space = made.learner.in_space(made, data).space
    darker = replace(data, validation=replace(data.validation, reflectance=data.validation.reflectance * 0.1))
    assert torch.equal(made.learner.in_space(made, darker).space.endmembers, space.endmembers)
    other = replace(data, train=replace(data.train, reflectance=data.train.reflectance * 0.5))
    assert not torch.allclose(made.learner.in_space(made, other).space.endmembers, space.endmembers)
    rebuilt = space.inverse(space.forward(data.train.reflectance.double()))
    assert float((rebuilt - data.train.reflectance).square().mean().sqrt()) < 0.01
    assert experiment().learner.in_space(experiment(), data) is data


def unmixed(endmembers: np.ndarray) -> dict:
    return {"learner": {"network": {"endmembers": torch.from_numpy(endmembers).float()}}}


def test_endmembers_of_an_unmixing_net_are_taken_as_they_are():
    data = tiny_data(bands=4)
    made = experiment(space="abundance", unmixing="net")
    space = made.learner.in_space(made, data.given({UNMIXING: unmixed(ENDS)}, None)).space
    np.testing.assert_allclose(space.endmembers, ENDS, rtol=1e-6)
    assert space.unmixing == "the unmixing net net"


def test_a_run_that_goes_on_keeps_the_space_of_the_other():
    data = tiny_data(bands=4)
    first = AbundanceSpace.fit(data.train.reflectance * 0.5, ENDS, "first")
    inputs = {START: {SPACE: first.state_dict()}}
    made = experiment(space="abundance", start="other")
    assert made.learner.in_space(made, data.given(inputs, None)).space.unmixing == "first"
    both = experiment(space="abundance", start="other", unmixing="net")
    same = data.given(inputs | {UNMIXING: unmixed(ENDS)}, None)
    assert both.learner.in_space(both, same).space.unmixing == "first"
    other = data.given(inputs | {UNMIXING: unmixed(ENDS[::-1].copy())}, None)
    with pytest.raises(ConfigError, match=r"learner.start = other: its abundances are of other endmembers than"):
        both.learner.in_space(both, other)


# --- what is refused


@pytest.mark.parametrize(
    ("learner", "told"),
    [
        ({"endmembers": 4}, r"learner.endmembers = 4 with learner.space = cube is refused.*learner.space=abundance"),
        ({"unmixing": "net"}, r"learner.unmixing = net with learner.space = cube is refused"),
        ({"endmembers_by": "vca"}, r"learner.endmembers_by = vca with learner.space = cube is refused"),
        ({"space": "abundance", "unmixing": "net", "endmembers": 3}, r"endmembers = 3 beside learner.unmixing = net"),
    ],
)
def test_settings_without_effect_are_refused(learner, told):
    with pytest.raises(ValueError, match=told):
        VaeConfig(**learner)


def test_more_endmembers_than_bands_are_refused_before_anything_is_read():
    config = DcganConfig(space="abundance", endmembers=6)
    manifest = Manifest.model_construct(wavelengths_nm=(500.0, 550.0, 600.0, 650.0), diagnoses={"melanoma": 1, "nevus": 1})
    with pytest.raises(ConfigError, match=r"learner.endmembers = 6: the store has 4 bands"):
        config.check_store(manifest)


def test_lesions_of_one_colour_are_refused():
    made, data = experiment(space="abundance"), tiny_data()
    flat = replace(data, train=replace(data.train, reflectance=torch.full_like(data.train.reflectance, 0.4)))
    with pytest.raises(ConfigError, match=r"learner.space = abundance: .*one colour"):
        made.learner.in_space(made, flat)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (VaeConfig(), r"it is of learner.kind = vae, which has no endmembers"),
        (UnmixerConfig(unit_length=True), r"it unmixed pixels of unit length"),
    ],
)
def test_runs_without_usable_endmembers_are_refused(other, told):
    made = experiment(space="abundance", unmixing="net")
    with pytest.raises(ConfigError, match=told):
        made.learner.check_input(UNMIXING, other, made, made)
    made.learner.check_input(UNMIXING, UnmixerConfig(), made, made)


def test_the_net_of_a_generator_that_is_told_the_diagnosis_may_have_seen_other_diagnoses():
    config = DcganConfig(space="abundance", unmixing="net", conditioning="class")
    told = experiment().model_copy(update={"learner": config}).override({"data.diagnoses": ["melanoma", "nevus"]})
    net = experiment().override({"data.diagnoses": "all"})
    told.learner.check_input(UNMIXING, UnmixerConfig(), net, told)
    with pytest.raises(ConfigError, match="it was told other diagnoses"):
        told.learner.check_input(START, config, net, told)


def test_a_sample_that_is_not_a_number_stays_one():
    values = abundances()
    values[0, 1, 2, 3] = torch.nan
    found = on_simplex(values)
    assert torch.isnan(found[0, :, 2, 3]).any()
    assert torch.isfinite(found[1:]).all()


@pytest.mark.parametrize(
    ("field", "change", "told"),
    [
        ("power", lambda rows: [[float("nan"), *row[1:]] for row in rows], "NaN or infinite"),
        ("endmembers", lambda rows: [row[:-1] for row in rows], "do not fit"),
        ("power", lambda rows: rows[:-1], "do not fit"),
    ],
)
def test_a_damaged_space_is_refused(field, change, told):
    state = AbundanceSpace.fit(mixed(abundances()), ENDS, "given").state_dict()
    with pytest.raises(ValueError, match=told):
        AbundanceSpace.from_state(state | {field: change(state[field])})


def test_a_run_goes_on_in_the_space_of_its_checkpoint(tmp_path):
    """Also where the endmembers would be found anew, with other last digits."""
    made, data = experiment(space="abundance", endmembers=3, endmembers_by="vca"), tiny_data()
    going = run(made, data, local(tmp_path, {"run": "r"}))
    next(going), next(going)
    going.close()
    first = torch.load(tmp_path / LATEST, weights_only=True)[SPACE]
    moved = replace(data, train=replace(data.train, reflectance=data.train.reflectance * (1 + 1e-3)))
    list(run(made, moved, local(tmp_path, {"run": "r"})))
    assert torch.load(tmp_path / LATEST, weights_only=True)[SPACE] == first
    assert torch.load(tmp_path / LATEST, weights_only=True)["images"] == 16
