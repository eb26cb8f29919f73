"""What a one-worker trial that does no work costs: the project's engine against Ray's documented Tune → Train pattern.

Both sides read 96 phantom cubes in the trial and report once. The engine: Tune's actor trains in process and is reused, the
data is materialised once. The documented pattern (Ray's guide "Hyperparameter tuning with Ray Tune" for Train): a Tune
function that starts a TorchTrainer of one worker on a streamed dataset, at Ray's default settings, in a process of its own
so that none of this project's settings reach it. It is given four logical CPUs: its trial, its worker and its reading tasks
each want one of their own, and on two it waits for ever.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

TRIALS, DOCUMENTED_TRIALS, WANTED = 12, 3, 20.0


def documented(store: str) -> list[float]:
    """Seconds from one trial's end to the next one's: one trial at a time."""
    import ray
    import ray.data
    import ray.train
    from ray import tune
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    rows = ray.data.read_parquet(f"{store}/lesions").select_columns(["cube"])
    out = tempfile.mkdtemp()

    def no_work(config: dict) -> None:
        shard = ray.train.get_dataset_shard("train")
        count = sum(len(batch["cube"]) for batch in shard.iter_torch_batches(batch_size=8))
        ray.train.report({"cubes": count})

    def driver(config: dict) -> None:
        trainer = TorchTrainer(
            no_work,
            scaling_config=ScalingConfig(num_workers=1),
            run_config=RunConfig(name=f"t{config['n']}", storage_path=out, callbacks=[TuneReportCallback()]),
            datasets={"train": rows},
        )
        trainer.fit()

    tuner = tune.Tuner(
        driver,
        param_space={"n": tune.grid_search(list(range(DOCUMENTED_TRIALS + 1)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(name="documented", storage_path=out, verbose=0, callbacks=[(clock := _clock())]),
    )
    tuner.fit()
    ray.shutdown()
    return clock.costs()


def engine(store: str) -> list[float]:
    """The same for this project's trials: no image is shown, so the loop validates nothing and trains nothing."""
    from hyperderm.cluster.session import connect, quiet_ray

    quiet_ray()
    with connect(None), tempfile.TemporaryDirectory() as folder:
        from ray import tune

        from hyperderm.cluster.shared_data import share
        from hyperderm.registry import experiment
        from hyperderm.store.reader import open_store
        from hyperderm.training.selection import Selection

        opened = open_store(store)
        ids = opened.index().column("lesion_id").to_pylist()
        shared = share(
            opened, Selection(tuple(ids[: len(ids) // 2]), tuple(ids[len(ids) // 2 :])), experiment("shsgan", "small")
        )
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_no_work(), shared=shared), {"cpu": 1}),
            param_space={"n": tune.grid_search(list(range(TRIALS + 1)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
            run_config=tune.RunConfig(
                name="engine",
                storage_path=folder,
                verbose=0,
                callbacks=[(clock := _clock())],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()
        return clock.costs()


def _no_work() -> type:
    """The trial of `cluster.trial` with the training left out: data fetched, one report, reused actor."""
    from ray import tune

    from hyperderm.registry import experiment

    class NoWork(tune.Trainable):
        def setup(self, config: dict, shared: object) -> None:
            self._shared = shared

        def reset_config(self, new_config: dict) -> bool:
            return True

        def step(self) -> dict:
            data = self._shared.load(experiment("shsgan", "small"))
            return {"cubes": len(data.train) + len(data.validation), "done": True}

    return NoWork


def _clock():
    from ray.tune import Callback

    class TimeSpent(Callback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_trial_complete(self, iteration, trials, trial, **info) -> None:
            assert trial.last_result["cubes"] == 96, trial.last_result
            self.ends.append(time.monotonic())

        def costs(self) -> list[float]:
            """Without the first trial, which pays for starting processes."""
            return [later - earlier for earlier, later in zip(self.ends, self.ends[1:], strict=False)]

    return TimeSpent()


def _in_process(side: str, store: str) -> list[float]:
    """Run one side in a clean process: at Ray's defaults for `documented`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_"))}
    command = [sys.executable, "-m", "tests.bench.trial_cost", side, store]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=900, cwd=Path(__file__).parents[2])
    line = next((line for line in reversed(done.stdout.splitlines()) if line.startswith("costs ")), None)
    if line is None:
        raise SystemExit(f"{side} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return [float(part) for part in line.split()[1:]]


def main() -> int:
    from hyperderm.phantom.rendering import phantom
    from hyperderm.store.writer import write_store

    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/store"
        write_store(store, (one.lesion for one in phantom(96, 64, 0)), fold_count=0)
        ours, theirs = _in_process("engine", store), _in_process("documented", store)
    ratio = median(theirs) / median(ours)
    print("cost of a one-worker trial that does no work (96 cubes read, one report), trials after the first")
    print(f"  Tune → Train, as documented  median of {len(theirs):2d}: {median(theirs):7.3f} s")
    print(f"  this project's engine        median of {len(ours):2d}: {median(ours):7.3f} s")
    print(f"  ratio {ratio:.0f}x (wanted: at least {WANTED:.0f}x)")
    return 0 if ratio >= WANTED and len(ours) >= 10 and len(theirs) >= 3 else 1


if __name__ == "__main__":
    if len(sys.argv) == 3:
        side = {"engine": engine, "documented": documented}[sys.argv[1]]
        print("costs", *side(sys.argv[2]))
    else:
        sys.exit(main())
