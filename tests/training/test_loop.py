"""Resuming, reports, best and latest, and what stops a run."""

import ast
import dataclasses
import math
import resource
import shutil
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import pytest
import torch

import hyperderm.training.loop as loop
from hyperderm.errors import NonFiniteLoss, StudyError
from hyperderm.learners.data import TrainData
from hyperderm.learners.scaling import Scaling
from hyperderm.learners.shsgan import ShsGanConfig
from hyperderm.learners.shsgan.learner import ShsGan
from hyperderm.training.checkpoint import BEST, FILES, LATEST, CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.loop import crossed, train
from hyperderm.training.meter import CHECK_EVERY
from tests.learners.tissue import MELANOMA, NEVUS, classifier, lesions
from tests.training.tiny import CPU, blobs, cube_set, steady, tiny, tiny_data

DATA = tiny_data()


def context(folder: Path, **provenance: str) -> Context:
    return Context(CheckpointFolder(folder), device=CPU, provenance=provenance)


def run(folder: Path, experiment=None, data: TrainData = DATA, stop: int | None = None) -> list[loop.Report]:
    return list(islice(train(experiment or tiny(), data, context(folder)), stop))


def timeless(report: loop.Report) -> dict[str, float]:
    return steady(report.metrics)


def tensors(state: object, path: str = "") -> dict[str, torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return {path: state}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {k: v for name, inner in items for k, v in tensors(inner, f"{path}/{name}").items()}


# --- reports


def test_reports_come_at_the_start_at_every_validation_and_at_the_end(tmp_path: Path):
    reports = run(tmp_path, tiny(training__images=40, training__validate_every=16))
    assert [r.images for r in reports] == [0, 16, 32, 40]
    assert all(r.cubes.shape == (8, 16, 16, 16) for r in reports)
    assert "train/critic_loss" not in reports[0].metrics
    assert "train/critic_loss" in reports[1].metrics
    assert [r.metrics["generator_updates"] for r in reports] == [0, 2, 4, 5]


def test_batches_that_do_not_divide_report_at_the_first_step_past(tmp_path: Path):
    experiment = tiny(training__images=40, training__validate_every=10, training__batch_size=6)
    assert [r.images for r in run(tmp_path, experiment)] == [0, 12, 24, 30, 42]


@pytest.mark.parametrize(
    ("before", "after", "every", "there"), [(0, 4, 8, 0), (4, 8, 8, 1), (6, 12, 10, 1), (12, 18, 10, 0)]
)
def test_crossed(before, after, every, there):
    assert crossed(before, after, every) == bool(there)


def test_metrics_are_means_over_the_steps_since_the_last_report(tmp_path: Path, monkeypatch):
    seen = []
    step = ShsGan.step

    def spy(self, batch):
        metrics = step(self, batch)
        seen.append(metrics)
        return metrics

    monkeypatch.setattr(ShsGan, "step", spy)
    reports = run(tmp_path, tiny(training__images=32))
    for k, report in enumerate(reports[1:]):
        steps = seen[4 * k : 4 * k + 4]
        for name in ("wasserstein", "critic_loss", "generator_loss", "rgb_loss"):
            values = [float(m[name]) for m in steps if name in m]
            assert report.metrics[f"train/{name}"] == pytest.approx(sum(values) / len(values), rel=1e-5)


def test_seconds_a_step_do_not_count_what_the_listener_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr("hyperderm.training.meter.perf_counter", lambda: now[0])
    seconds = []
    for report in train(tiny(training__images=64), DATA, context(tmp_path)):
        seconds.append(report.metrics.get("train/seconds_per_step"))
        now[0] += 100.0  # what the listener takes
    assert seconds[0] is None
    assert seconds[1:] == [0.0] * (len(seconds) - 1)


# --- resuming


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_an_interrupted_run_ends_as_an_undisturbed_one(tmp_path: Path, stop):
    experiment = tiny(learner__n_critic=3, data__flips=True)
    whole = run(tmp_path / "whole", experiment)
    first = run(tmp_path / "parts", experiment, stop=stop)
    second = run(tmp_path / "parts", experiment)
    assert [r.images for r in first + second[1:]] == [r.images for r in whole]
    for a, b in zip([*first, *second[1:]], whole, strict=True):
        assert timeless(a) == timeless(b)
    assert timeless(second[0]) == timeless(first[-1])  # told again
    assert (second[0].cubes is None) == (stop > 1)  # before the first validation nothing is saved: it begins anew
    assert torch.equal(second[-1].cubes, whole[-1].cubes)
    for name in (LATEST, BEST):
        a, b = (CheckpointFolder(tmp_path / w).load(name) for w in ("whole", "parts"))
        assert tensors(a).keys() == tensors(b).keys()
        assert all(torch.equal(v, tensors(b)[k]) for k, v in tensors(a).items())
        assert (a["images"], a["best"]) == (b["images"], b["best"])


def test_a_finished_run_repeats_its_last_report_and_trains_no_more(tmp_path: Path):
    whole = run(tmp_path)
    before = (tmp_path / LATEST).read_bytes()
    again = run(tmp_path)
    assert [r.images for r in again] == [48]
    assert dict(again[0].metrics) == dict(whole[-1].metrics)
    assert (tmp_path / LATEST).read_bytes() == before


def test_best_is_the_checkpoint_of_the_best_score(tmp_path: Path):
    reports = run(tmp_path, tiny(training__images=96, learner__lr_generator=3e-2))
    scores = {r.images: r.metrics[ShsGanConfig.objective] for r in reports[1:]}
    best = CheckpointFolder(tmp_path).load(BEST)
    assert best["images"] == min(scores, key=scores.get)
    assert best["best"] == min(scores.values()) == best["metrics"][ShsGanConfig.objective]
    assert CheckpointFolder(tmp_path).load()["images"] == 96
    assert best["images"] < 96  # or the test would show nothing


def test_a_state_that_saw_synthetic_cubes_alone_is_never_the_best(tmp_path: Path):
    """The first half of the images is synthetic; a large step size makes every later state worse than the early ones."""
    experiment = classifier(
        synthetic__store="set", synthetic__use="pretrain", training__pretrain_images=96, training__images=128,
        training__validate_every=16, learner__lr=0.3,
    )  # fmt: skip
    reports = run(tmp_path, experiment, lesions(8, 16, extra=(NEVUS, MELANOMA) * 24))
    scores = {r.images: r.metrics[experiment.objective] for r in reports[1:]}
    best = CheckpointFolder(tmp_path).load(BEST)
    later = {images: score for images, score in scores.items() if images > 96}
    assert best["images"] == min(later, key=later.get)
    assert best["best"] == min(later.values()) > min(scores.values()), "or the test would show nothing"
    for report in reports[1:]:
        shown = [score for images, score in (later if report.images > 96 else scores).items() if images <= report.images]
        assert report.metrics[f"best_{experiment.objective}"] <= report.metrics[experiment.objective]
        assert min(shown) <= report.metrics[f"best_{experiment.objective}"]


def test_a_checkpoint_tells_where_it_comes_from(tmp_path: Path):
    origin = {"hyperderm.manifest": "abc", "hyperderm.fold": "0", "git": "123"}
    list(train(tiny(training__images=16), DATA, context(tmp_path, **origin)))
    saved = CheckpointFolder(tmp_path).load()
    assert saved["provenance"] == origin
    assert saved["wavelengths_nm"] == list(DATA.wavelengths_nm)
    assert torch.equal(Scaling.from_state(saved["scaling"]).high, DATA.scaling.high)
    assert saved["learner"]["h"].shape == (3, 16)
    torch.testing.assert_close(saved["learner"]["h"].sum(1), torch.ones(3))


# --- checkpoints of other runs


def refusal(folder: Path, experiment=None, data: TrainData = DATA, **provenance: str) -> str:
    before = (folder / LATEST).read_bytes()
    with pytest.raises(StudyError) as caught:
        list(train(experiment or tiny(), data, context(folder, **provenance)))
    assert (folder / LATEST).read_bytes() == before
    assert str(folder / LATEST) in caught.value.what
    assert "begins anew" in caught.value.remedy
    return caught.value.what


def test_another_configuration_is_not_continued(tmp_path: Path):
    run(tmp_path, stop=2)
    said = refusal(tmp_path, tiny(learner__lr_critic=2e-3, seed=4))
    assert "learner.lr_critic: 0.001 -> 0.002" in said
    assert "seed: 0 -> 4" in said


def test_another_shape_of_network_is_told_as_a_configuration(tmp_path: Path):
    run(tmp_path, stop=2)
    assert "learner.generator_width: 4 -> 8" in refusal(tmp_path, tiny(learner__generator_width=8))


def test_other_data_or_another_fold_is_not_continued(tmp_path: Path):
    origin = {"hyperderm.manifest": "abc", "hyperderm.fold": "0"}
    list(islice(train(tiny(), DATA, context(tmp_path, **origin)), 2))
    assert "hyperderm.manifest: abc -> def" in refusal(tmp_path, **(origin | {"hyperderm.manifest": "def"}))
    assert "hyperderm.fold: 0 -> 1" in refusal(tmp_path, **(origin | {"hyperderm.fold": "1"}))
    assert "hyperderm.manifest: abc -> (none)" in refusal(tmp_path)


def test_other_lesions_are_noticed_without_any_provenance(tmp_path: Path):
    run(tmp_path, stop=2)
    swapped = dataclasses.replace(DATA, validation=cube_set(blobs(6, seed=9), "other"))
    assert "lesions: " in refusal(tmp_path, data=swapped)


def test_how_a_run_is_spread_is_not_what_it_is(tmp_path: Path):
    run(tmp_path, stop=2)
    reports = run(tmp_path, tiny(sweep__workers_per_trial=2, sweep__max_failures=0, sweep__trials=99))
    assert reports[-1].images == 48


def test_a_checkpoint_of_another_version_is_told_so(tmp_path: Path):
    run(tmp_path, stop=2)
    folder = CheckpointFolder(tmp_path)
    saved = folder.load()
    folder.save({**saved, "learner": {**saved["learner"], "critic": {"gone": torch.ones(1)}}})
    assert "does not fit the networks" in refusal(tmp_path)
    folder.save({k: v for k, v in saved.items() if k != "experiment"})
    assert "not made by this version" in refusal(tmp_path)
    for name in FILES:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(StudyError, match="cannot be read"):
        run(tmp_path)


# --- non-finite


def poison(monkeypatch, at: int, names: tuple[str, ...]) -> None:
    step = ShsGan.step

    def bad(self, batch):
        metrics = dict(step(self, batch))
        for name in names if batch.images // batch.count >= at else ():
            metrics[name] = metrics[name] * float("nan")
        return metrics

    monkeypatch.setattr(ShsGan, "step", bad)


@pytest.mark.parametrize("at", [0, 3, CHECK_EVERY - 1, CHECK_EVERY, CHECK_EVERY + 5, 39])
def test_the_first_bad_step_is_named(tmp_path: Path, monkeypatch, at):
    poison(monkeypatch, at, ("critic_loss",))
    with pytest.raises(NonFiniteLoss, match=f"^critic_loss is not finite at step {at}. Lower the learning rates"):
        run(tmp_path, tiny(training__images=160, training__validate_every=120))


def test_of_one_step_s_metrics_the_cause_is_named(tmp_path: Path, monkeypatch):
    poison(monkeypatch, 2, ("critic_gradient", "critic_loss", "penalty"))
    with pytest.raises(NonFiniteLoss, match=r"^penalty is not finite at step 2"):
        run(tmp_path)


def test_an_absurd_learning_rate_ends_so(tmp_path: Path):
    with pytest.raises(NonFiniteLoss, match=r"^\w+ is not finite at step \d+\. "):
        run(tmp_path, tiny(learner__lr_critic=1.0, learner__gp_weight=1e30, training__images=400))


def test_nothing_that_is_not_finite_is_ever_saved(tmp_path: Path, monkeypatch):
    poison(monkeypatch, 5, ("wasserstein",))
    with pytest.raises(NonFiniteLoss):
        run(tmp_path)
    assert CheckpointFolder(tmp_path).load()["images"] == 16
    with pytest.raises(NonFiniteLoss, match="at step 5"):  # repeating tells the same
        run(tmp_path)


def test_a_score_that_is_not_finite_fails_the_run(tmp_path: Path, monkeypatch):
    def broken(self, seed, indices, condition):
        return sample(self, seed, indices, condition) * (math.nan if self.generator_updates == 4 else 1)

    sample = ShsGan.sample
    monkeypatch.setattr(ShsGan, "sample", broken)
    with pytest.raises(NonFiniteLoss, match="spectral_energy_distance is not finite after step 7"):
        run(tmp_path)
    assert CheckpointFolder(tmp_path).load()["images"] == 16


# --- the contract


def test_the_loop_is_one_screen():
    path = Path(loop.__file__)
    assert path.read_text().count("\n") <= 100
    names = {n.name: n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)}
    assert names["train"].end_lineno - names["train"].lineno < 60


def test_training_needs_neither_ray_nor_mlflow_nor_optuna(tmp_path: Path):
    code = f"""
import sys
for name in ("ray", "mlflow", "optuna"):
    sys.modules[name] = None
from pathlib import Path
from hyperderm.training.context import local
from hyperderm.training.loop import train
from tests.training.tiny import tiny, tiny_data
print([r.images for r in train(tiny(training__images=16), tiny_data(), local(Path({str(tmp_path)!r})))])
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[0, 16]", done.stderr


def test_reports_say_what_the_worker_used_of_its_machine(tmp_path: Path):
    first, second, *_ = run(tmp_path)
    assert not [name for name in first.metrics if name.startswith("system/")], "nothing was done before the first report"
    used = {name: value for name, value in second.metrics.items() if name.startswith("system/")}
    assert used.keys() == {"system/cpu_cores", "system/memory_gib", "system/disk_free_gib"}
    assert 0 < used["system/cpu_cores"] < 64
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert 0.05 < used["system/memory_gib"] <= peak * 1.01
    assert used["system/disk_free_gib"] == pytest.approx(shutil.disk_usage(tempfile.gettempdir()).free / 2**30, rel=0.2)
