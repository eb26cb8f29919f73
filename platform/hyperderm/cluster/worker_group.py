"""A run on several workers: a Ray Train group whose rank 0 sends reports through a channel and waits for each decision.

The decision is to go on or to stop.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train.torch import TorchTrainer

from hyperderm.cluster.interfaces import GroupConfig
from hyperderm.cluster.leave_word import Process, tell_to_leave, this_process
from hyperderm.cluster.messages import end_message, report_message
from hyperderm.cluster.shared_data import Shared
from hyperderm.config import Experiment
from hyperderm.errors import ClusterError
from hyperderm.store.location import Location
from hyperderm.store.run_location import RunLocation, address, location_at
from hyperderm.strict import parse
from hyperderm.training.checkpoint import CheckpointFolder
from hyperderm.training.context import Context
from hyperderm.training.kept_samples import keep_samples
from hyperderm.training.loop import train
from hyperderm.training.preemption import asked_to_leave, preempted
from hyperderm.training.report import Report
from hyperderm.trouble import cause_for, reason_of, trouble_of

POLL_S = 1.0
STOP_S = 30.0


@ray.remote(num_cpus=0)
class ReportChannel:
    """A channel for reports in one direction and decisions in the other.

    It also holds the references to the data, and the access to the storage.
    """

    def __init__(self, shared: Shared, storage: Location | None) -> None:
        self._shared, self._storage = shared, storage
        self._reports: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._waiting: asyncio.Future[bool] | None = None
        self._last = -1
        self._failed = False
        self._workers: list[Process] = []

    async def shared(self, worker: Process) -> tuple[Shared, Location | None]:
        """Return the data references, and the access to the workers' storage, to a worker that begins."""
        self._workers.append(worker)
        return self._shared, self._storage

    async def workers(self) -> list[Process]:
        """Return all workers that have begun; those of a group before a restart have ended."""
        return self._workers

    async def put(self, report: dict[str, Any]) -> bool:
        """Deliver a report and return whether to go on; a report delivered before a restart is answered at once."""
        if report["images"] <= self._last:
            return True
        self._last = report["images"]
        self._waiting = asyncio.get_running_loop().create_future()
        self._reports.put_nowait(report)
        return await self._waiting

    async def fail(self, report: dict[str, Any]) -> None:
        """Deliver the message that ends a failed run; only that of the first worker counts."""
        if not self._failed:
            self._failed = True
            self._reports.put_nowait(report)

    async def end(self) -> None:
        """Let no group begin any more."""
        self._failed = True

    async def failed(self) -> bool:
        """Return whether the run has failed or is to end; a group that is started again then ends at once."""
        return self._failed

    async def take(self) -> dict[str, Any]:
        """Return the next report."""
        return await self._reports.get()

    async def decide(self, go_on: bool) -> None:
        """Answer the waiting report."""
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(go_on)


def worker_main(config: dict[str, Any]) -> None:
    """Train as one worker of a group."""
    experiment = parse(Experiment, config["experiment"])
    channel = config["channel"]
    if ray.get(channel.failed.remote()):
        return
    torch.set_num_threads(max(1, int(config["cpus"])))
    shared: Shared
    shared, storage = ray.get(channel.shared.remote(this_process()))
    place = location_at(config["folder"], storage)
    context = worker_group(place, config["provenance"], config["parts"])
    try:
        for report in train(experiment, shared.load(experiment), context):
            if not _go_on(report, experiment, channel, context.rank, place, context.device):
                return
    except Exception as error:
        ray.get(channel.fail.remote(end_message(error)))  # if it raises, the group is started again from the checkpoint
        raise  # other workers may wait in a collective; Ray Train ends them all


def _go_on(
    report: Report,
    experiment: Experiment,
    channel: Any,  # noqa: ANN401 - an actor handle
    rank: int,
    place: RunLocation,
    device: torch.device,
) -> bool:
    flag = torch.zeros((), device=device)
    if rank == 0:
        keep_samples(report, place)
        flag += float(ray.get(channel.put.remote(report_message(report, experiment.training.images))))
    dist.broadcast(flag, 0)
    return bool(flag)


def _records(place: RunLocation) -> dict[str, Any]:
    """Return the settings for Ray Train's records of a group: beside the folder of trials, which every node sees."""
    if isinstance(place, Path):
        return {"storage_path": str(place.parent.parent / "train")}
    return {"storage_path": f"{place.path.rsplit('/', 2)[0]}/train", "storage_filesystem": place.fs}


class WorkerGroup:
    """A running group of workers; iterate over `reports` for its reports, and call `stop` to end it.

    Args:
        experiment: the run, with the number of workers and the resources of each (`sweep`).
        shared: the data that the workers read.
        place: the place of checkpoints and samples.
        provenance: facts that are saved in the checkpoints.
        max_failures: how often the group is started again from the checkpoint after a worker or its node died.
        parts: number of parts in which each worker computes its share of a batch.
    """

    def __init__(
        self,
        experiment: Experiment,
        shared: Shared,
        place: RunLocation,
        provenance: Mapping[str, str],
        max_failures: int,
        parts: int = 1,
    ) -> None:
        sweep, storage = experiment.sweep, None if isinstance(place, Path) else place
        config = {  # without S3 settings, because Ray Train stores and shows configurations
            "experiment": experiment.model_dump(mode="json"),
            "folder": address(place.absolute() if isinstance(place, Path) else place),
            "provenance": dict(provenance),
            "parts": parts,
        }
        self._channel = ReportChannel.remote(shared, storage)  # type: ignore[attr-defined]
        trainer = TorchTrainer(
            worker_main,
            train_loop_config={**config, "channel": self._channel, "cpus": sweep.cpus_per_worker},
            torch_config=GroupConfig(),
            scaling_config=ray.train.ScalingConfig(
                num_workers=sweep.workers_per_trial,
                use_gpu=sweep.gpus_per_worker > 0,
                resources_per_worker={"CPU": sweep.cpus_per_worker}
                | ({"GPU": sweep.gpus_per_worker} if sweep.gpus_per_worker else {}),
            ),
            run_config=ray.train.RunConfig(
                name=f"group-{uuid.uuid4().hex[:8]}",
                **_records(place),
                failure_config=ray.train.FailureConfig(max_failures=max_failures),
            ),
        )
        self._error: BaseException | None = None
        self._told_to_leave = False
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        self._thread.start()

    def _fit(self, trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except BaseException as error:
            self._error = error

    def reports(self) -> Iterator[dict[str, Any]]:
        """Yield each report in the form of `messages.report_message`; asking for the next report lets the workers go on.

        Raises:
            MachineTrouble: workers were lost or had trouble more often than they are started again; ClusterError: the group
                ended without a last report.
        """
        while True:
            message = self._next()
            yield message
            if message["done"]:
                self.stop()
                return
            ray.get(self._channel.decide.remote(True))

    def stop(self) -> None:
        """Tell the workers to end and wait at most `STOP_S` seconds, because a group without resources never answers."""
        deadline = time.monotonic() + STOP_S
        while self._thread.is_alive() and time.monotonic() < deadline:
            ray.get(self._channel.decide.remote(False))
            self._thread.join(POLL_S / 5)

    def _next(self) -> dict[str, Any]:
        pending = self._channel.take.remote()
        while True:
            if asked_to_leave() and not self._told_to_leave:
                self._told_to_leave = True
                ray.get(self._channel.end.remote())
                tell_to_leave(ray.get(self._channel.workers.remote()))
            ready, _ = ray.wait([pending], timeout=POLL_S)
            if ready:
                message: dict[str, Any] = ray.get(pending)
                return message
            if not self._thread.is_alive() and not ray.wait([pending], timeout=POLL_S)[0]:
                if self._told_to_leave:
                    raise preempted()
                if self._error and (trouble := trouble_of(self._error)):
                    raise trouble from cause_for(trouble, self._error)
                reason = reason_of(self._error) if self._error else "no reason given"
                raise ClusterError(f"the worker group ended without a result: {reason}", "See the worker logs.")


def group_reports(
    experiment: Experiment,
    shared: Shared,
    place: RunLocation,
    provenance: Mapping[str, str],
    max_failures: int = 0,
    parts: int = 1,
) -> Generator[Report, None, None]:
    """Train with several workers and yield the reports of rank 0; closing this generator ends the group.

    Args:
        experiment: the run, with the number of workers and the resources of each (`sweep`).
        shared: the data that the workers read.
        place: the place of checkpoints and samples, which the nodes of all workers see.
        provenance: facts that are saved in the checkpoints.
        max_failures: how often the group is started again from the checkpoint after a worker or its node died.
        parts: number of parts in which each worker computes its share of a batch.

    Raises:
        NonFiniteLoss: the run diverged; HyperdermError: a worker met an error that the user can mend; MachineTrouble: the
            machine had trouble; ClusterError: the group ended without a last report.
    """
    group = WorkerGroup(experiment, shared, place, provenance, max_failures, parts)
    try:
        for message in group.reports():
            if trouble := message.get("trouble"):
                raise trouble
            if cause := message.get("cause"):
                raise cause
            yield Report(message["images"], message["report"], note=message["note"])
    finally:
        group.stop()


def worker_group(folder: RunLocation, provenance: Mapping[str, str] | None = None, parts: int = 1) -> Context:
    """Return the context of one Ray Train worker; Ray Train has already set up its process group (gloo or NCCL)."""
    import ray.train
    import ray.train.torch

    here = ray.train.get_context()
    return Context(
        CheckpointFolder(folder),
        rank=here.get_world_rank(),
        world_size=here.get_world_size(),
        device=ray.train.torch.get_device(),
        provenance=provenance or {},
        parts=parts,
    )
