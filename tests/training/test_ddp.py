"""Two gloo workers against one, with the same global batch: the code path of a cluster, without one."""

import math

import pytest
import torch

from hyperderm.training.checkpoint import CheckpointFolder
from tests.training.tiny import steady
from tests.training.two_workers import FROM_NOISE, OF_PIXELS, everything


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """The results by number of workers, one of each rank."""
    found = {}
    for name, workers in (("one", 1), ("two", 2)):
        folder = tmp_path_factory.mktemp(name)
        if workers == 1:
            threads = torch.get_num_threads()
            everything(0, 1, folder)
            torch.set_num_threads(threads)
        else:
            torch.multiprocessing.spawn(everything, (workers, folder), nprocs=workers)
        found[name] = [torch.load(folder / f"result-{rank}.pt") for rank in range(workers)]
        found[f"{name} saved"] = [CheckpointFolder(folder / "loop").load()]
    return found


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5 * b.abs().max() + 1e-14)  # 1e-14: a bias before a norm has no gradient


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    "what",
    [
        "gradient/generator",
        "gradient/critic",
        "gradient/classifier",
        "gradient/noise-generator",
        "gradient/noise-critic",
        "weight/noise-generator",
        "weight/noise-critic",
        "weight/generator",
        "weight/critic",
        "weight/ema",
        "weight/classifier",
    ],
)
def test_gradients_and_weights_are_those_of_one_worker(results, rank, what):
    one, two = results["one"][0]["steps"], results["two"][rank]["steps"]
    names = [name for name in one if name.startswith(what)]
    assert len(names) >= 8
    assert [name for name in names if not close(two[name], one[name])] == []
    assert all(one[name].dtype == torch.float64 for name in names)
    assert sum(bool(one[name].abs().max() > 1e-6) for name in names) >= len(names) / 2  # something was compared


@pytest.mark.parametrize(
    ("of", "name"), [*(("from noise", name) for name in FROM_NOISE), *(("of pixels", name) for name in OF_PIXELS)]
)
def test_networks_train_on_two_workers_as_on_one(results, of, name):
    one, *both = (each[of][name] for each in (*results["one"], *results["two"]))
    for two in both:
        assert [key for key in one if not close(two[key], one[key])] == []
    gradients = [value for key, value in one.items() if key.startswith("gradient/")]
    told = sum(bool(value.abs().max() > 1e-9) for value in gradients)
    assert told >= len(gradients) / 3  # something was compared; residual branches that begin at zero have no gradient yet


def test_lecam_s_averages_are_those_of_the_whole_batch_on_each_worker(results):
    one, *two = results["one"][0]["lecam"], *(each["lecam"] for each in results["two"])
    assert one["real"] == pytest.approx((0.9 * 1.5 + 4.5) / 1.9)
    for each in two:
        assert each.keys() == one.keys()
        assert all(float(each[name]) == pytest.approx(float(one[name]), rel=1e-12) for name in one)
    assert all(torch.equal(value, two[1][name]) for name, value in two[0].items())


def test_the_adaptive_strength_follows_the_whole_batch_on_each_worker(results):
    states = [each["strength"] for each in (*results["one"], *results["two"])]
    for state in states:
        assert {name: float(value) for name, value in state.items()} == {"probability": 0.16, "signs": 0.5, "updates": 5}


def test_a_run_of_two_workers_reports_and_saves_what_one_does(results):
    one, two = results["one"][0]["loop"], results["two"][0]["loop"]
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in steady(a):
            assert b[name] == pytest.approx(a[name], rel=1e-5, abs=1e-9), name
    one_saved, two_saved = results["one saved"][0]["learner"], results["two saved"][0]["learner"]
    for name in ("generator", "critic", "ema"):
        assert [k for k, v in one_saved[name].items() if not close(two_saved[name][k], v)] == []


def test_the_second_worker_reports_the_same_losses(results):
    first, second = (results["two"][rank]["loop"] for rank in (0, 1))
    for a, b in zip(first, second, strict=True):
        assert {name: a[name] for name in b} == b


def test_bf16_stays_finite_and_near(results):
    whole, half = results["two"][0]["loop"], results["two"][0]["bf16"]
    assert all(math.isfinite(value) for metrics in half for value in metrics.values())
    assert half[-1]["train/rgb_loss"] == pytest.approx(whole[-1]["train/rgb_loss"], rel=0.05)
    assert half[-1]["train/rgb_loss"] != whole[-1]["train/rgb_loss"]


def test_what_is_not_finite_on_one_worker_ends_both_alike(results):
    said = {result["failing"] for result in results["two"]}
    assert said == {results["one"][0]["failing"]}
    assert next(iter(said)).startswith("penalty is not finite at step 2.")
