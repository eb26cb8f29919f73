"""The processes in closed form: Gaussian data, whose perfect denoiser is known, comes out of each sampler as it went in."""

import math

import pytest
import torch
from torch import Tensor

from hyperderm.learners.diffusion.config import DdpmConfig, DiffusionConfig, EdmConfig, FlowConfig
from hyperderm.learners.diffusion.processes import (
    FLOW_TIMES,
    SIGMA_DATA,
    Ddpm,
    Edm,
    Flow,
    Fresh,
    Process,
    guided,
    process_of,
)

PROCESSES: dict[str, Process] = {
    "edm": Edm(EdmConfig()),
    "flow": Flow(FlowConfig()),
    "ddpm": Ddpm(DdpmConfig()),
    "ddim": Ddpm(DdpmConfig(eta=0.0)),
    "short ddim": Ddpm(DdpmConfig(timesteps=400, beta_start=1e-4, beta_end=5e-2, eta=0.0)),
}
MEAN, DEVIATION = 0.3, 0.4


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fresh_like(x: Tensor) -> Fresh:
    return lambda step: normal(*x.shape, seed=100 + step).float()


def mixing(process: Process, time: Tensor) -> tuple[Tensor, Tensor]:
    """a and b of x = a y + b ε, from the time input of a network, in the form in which the schedulers hold x."""
    if isinstance(process, Edm):
        return torch.ones_like(time), (4 * time).exp()
    if isinstance(process, Flow):
        return 1 - time / FLOW_TIMES, time / FLOW_TIMES
    assert isinstance(process, Ddpm)
    kept = torch.stack([torch.linspace(process.config.beta_start, process.config.beta_end, process.config.timesteps)])
    kept = (1 - kept.double()).log().cumsum(1).exp()[0][time.long()]
    return kept.sqrt(), (1 - kept).sqrt()


def perfect(process: Process, given: Tensor, time: Tensor, mean: float = MEAN, deviation: float = DEVIATION) -> Tensor:
    """The output of a perfect network for data N(mean, deviation²): the conditional mean of the target."""
    a, b = (each.double()[:, None, None, None] for each in mixing(process, time.double()))
    edm = isinstance(process, Edm)
    x = given.double() * (b.square() + SIGMA_DATA**2).sqrt() if edm else given.double()
    clean = mean + a * deviation**2 / (a.square() * deviation**2 + b.square()) * (x - a * mean)
    noise = (x - a * clean) / b
    if edm:
        skip = SIGMA_DATA**2 / (b.square() + SIGMA_DATA**2)
        return (clean - skip * x) / (b * SIGMA_DATA / (b.square() + SIGMA_DATA**2).sqrt())
    return noise - clean if isinstance(process, Flow) else noise


@pytest.mark.parametrize("name", PROCESSES)
def test_samples_of_gaussian_data_have_its_mean_and_its_deviation(name):
    process = PROCESSES[name]
    noise = normal(64, 3, 8, 8).float()
    steps = 2000 if name == "ddpm" else 100  # exact for all steps only: fewer make too little variety
    made = process.sample(lambda x, t: perfect(process, x, t).to(x), noise, steps, fresh_like(noise))
    assert float(made.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(made.std()) == pytest.approx(DEVIATION, rel=0.03)
    same = float(torch.corrcoef(torch.stack([made.flatten(), noise.flatten()]))[0, 1])
    assert abs(same) < 0.05 if name == "ddpm" else same > 0.999  # the ODE's flow is affine; fresh noise forgets the first


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_edm_needs_few_steps(steps):
    """DPM-Solver's second order: at 20 steps the deviation is right within 5 %; one step gives the mean of the data."""
    process = PROCESSES["edm"]
    calls = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        calls.append(t)
        return perfect(process, x, t).to(x)

    noise = normal(64, 1, 8, 8).float()
    made = process.sample(network, noise, steps, fresh_like(noise))
    assert len(calls) == steps
    assert float(made.mean()) == pytest.approx(MEAN, abs=0.02)
    if steps == 1:
        assert float(made.std()) < 0.01
    if steps == 20:
        assert float(made.std()) == pytest.approx(DEVIATION, rel=0.05)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_perfect_network_for_one_cube_has_no_loss(name):
    """If all data are one cube, the target follows from the input, at every level."""
    process = PROCESSES[name]
    cube, noise = normal(1, 2, 4, 4).expand(6, -1, -1, -1), normal(6, 2, 4, 4, seed=1)
    noised = process.noised(cube, noise, process.levels(normal(6, seed=2)))
    for row in range(6):
        a, b = (each.double() for each in mixing(process, noised.time[row : row + 1].double()))
        x = noised.given[row] * ((b.square() + SIGMA_DATA**2).sqrt() if isinstance(process, Edm) else 1)
        found = (x - a * cube[row]) / b
        torch.testing.assert_close(found, noise[row], rtol=1e-5, atol=1e-5)
        if isinstance(process, Edm):
            skip, out = SIGMA_DATA**2 / (b**2 + SIGMA_DATA**2), b * SIGMA_DATA / (b**2 + SIGMA_DATA**2).sqrt()
            torch.testing.assert_close(noised.target[row], (cube[row] - skip * x) / out, rtol=1e-9, atol=1e-9)
        else:
            target = noise[row] - cube[row] if isinstance(process, Flow) else noise[row]
            torch.testing.assert_close(noised.target[row], target)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 40.0])
def test_edm_s_inputs_and_targets_have_unit_variance_at_every_level(sigma):
    """Karras et al. 2022, appendix B.6: so were c_in, c_out and c_skip chosen."""
    process = Edm(EdmConfig())
    clean, noise = SIGMA_DATA * normal(64, 4, 8, 8), normal(64, 4, 8, 8, seed=1)
    noised = process.noised(clean, noise, torch.full((64,), sigma, dtype=torch.float64))
    assert float(noised.given.var()) == pytest.approx(1, rel=0.05)
    assert float(noised.target.var()) == pytest.approx(1, rel=0.05)
    assert abs(float((noised.given * noised.target).mean())) < 0.03  # what a linear network could do, c_skip does
    assert float(noised.time[0]) == pytest.approx(math.log(sigma) / 4)


def test_levels():
    z = normal(20_000)
    edm = Edm(EdmConfig(p_mean=-0.5, p_std=2.0)).levels(z).log()
    assert (float(edm.mean()), float(edm.std())) == (pytest.approx(-0.5, abs=0.05), pytest.approx(2, rel=0.02))
    assert float(Flow(FlowConfig(times="uniform")).levels(z).var()) == pytest.approx(1 / 12, rel=0.03)
    middle = Flow(FlowConfig(times="logit_normal")).levels(z)
    torch.testing.assert_close((middle / (1 - middle)).log(), z)
    steps = Ddpm(DdpmConfig(timesteps=5)).levels(z)
    assert torch.bincount(steps.long(), minlength=5).tolist() == pytest.approx([4000] * 5, rel=0.06)
    assert steps.max() == 4
    assert float(Ddpm(DdpmConfig(timesteps=5)).levels(torch.tensor([9.0]))) == 4


@pytest.mark.parametrize("name", [*PROCESSES, "uniform flow"])
def test_levels_are_made_on_the_device_of_their_draws(name):
    """The device "meta" has no numbers, so what copies them to the CPU fails as it does for a GPU."""
    process = PROCESSES.get(name, Flow(FlowConfig(times="uniform")))
    assert process.levels(torch.empty(3, device="meta")).device.type == "meta"


def test_ddpm_s_variance_is_kept_and_nothing_is_left_at_the_end():
    """ᾱ_T of the seed: exp(Σ ln(1 − β)) with 2000 β from 1e-6 to 1e-2 is e^-10, nearly."""
    process = Ddpm(DdpmConfig())
    assert float(process.kept[0]) == pytest.approx(1 - 1e-6)
    assert float(process.kept[-1].log()) == pytest.approx(-10.03, abs=0.01)
    noised = process.noised(normal(500, 1, 4, 4), normal(500, 1, 4, 4, seed=1), torch.full((500,), 900.0))
    assert float(noised.given.var()) == pytest.approx(1, rel=0.05)


def test_ddpm_believes_clean_values_within_a_range_only():
    """A network that sees no noise at all takes all of x for the cube; without a limit it leaves that of any cube."""
    noise = normal(4, 1, 4, 4).float()
    free, limited = (
        Ddpm(DdpmConfig(clip=clip, eta=0.0)).sample(lambda x, t: torch.zeros_like(x), noise, 10, fresh_like(noise))
        for clip in (None, 0.5)
    )
    assert float(free.abs().max()) > 50
    assert float(limited.abs().max()) <= 0.5
    process = Ddpm(DdpmConfig(clip=9.0))  # a limit that nothing reaches changes nothing
    found = [
        each.sample(lambda x, t: perfect(process, x, t).to(x), noise, 10, fresh_like(noise))
        for each in (process, Ddpm(DdpmConfig()))
    ]
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def test_guidance():
    told, untold = normal(2, 3), normal(2, 3, seed=1)
    torch.testing.assert_close(guided(told, untold, 1.0), told)
    torch.testing.assert_close(guided(told, untold, 0.0), untold)
    torch.testing.assert_close(guided(told, untold, 3.0), 3 * told - 2 * untold)


@pytest.mark.parametrize("name", ["edm", "flow", "ddpm"])
def test_guided_outputs_are_guided_denoised_cubes(name):
    """Two Gaussians as classes: guiding outputs or denoised values is the same, because one is affine in the other."""
    process = PROCESSES[name]
    noised = process.noised(normal(4, 1, 2, 2), normal(4, 1, 2, 2, seed=1), process.levels(normal(4, seed=2)))
    a, b = (perfect(process, noised.given, noised.time, mean) for mean in (0.0, 1.0))
    other = perfect(process, noised.given, noised.time, 2.5)  # 0 + 2.5 · (1 − 0)
    torch.testing.assert_close(guided(b, a, 2.5), other)


def test_the_process_is_that_of_the_settings():
    found = [process_of(DiffusionConfig(process=name)) for name in ("edm", "flow", "ddpm")]
    assert [type(each) for each in found] == [Edm, Flow, Ddpm]
