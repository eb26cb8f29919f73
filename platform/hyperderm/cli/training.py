"""Put a single run together: one worker here, or a group on Ray; the same tracking and pictures as a sweep's trial."""

from pathlib import Path

from hyperderm.cli.setting import Setting, find_store
from hyperderm.cli.tracked import facts_of, finish_tracking, open_tracker, real_set
from hyperderm.config import Experiment
from hyperderm.errors import NonFiniteLoss
from hyperderm.reports.progress import ProgressLine
from hyperderm.strict import fingerprint
from hyperderm.studies.folder import claim, trial_folder
from hyperderm.studies.observer import Observers
from hyperderm.studies.selection import select
from hyperderm.studies.single import run_group, run_here
from hyperderm.tracking.server import check_server
from hyperderm.tracking.sweep_tracker import SweepTracker


def run_one(
    setting: Setting, experiment: Experiment, store: str | None, data: Path | None, name: str | None, runs: Path | None
) -> int:
    """Train or continue a run and return the exit code.

    Raises:
        HyperdermError: whatever the user can mend, before any process starts.
    """
    check_server(setting.tracking_uri)
    opened = find_store(setting, store, data)
    selection = select(opened, experiment)
    mine = {**experiment.identity(), "manifest": opened.manifest.fingerprint}
    folder = (runs or setting.root / "runs").absolute() / (name or f"train-{experiment.name}-{fingerprint(mine)[:8]}")
    with claim(folder, mine) as key:
        facts = facts_of(setting, key, folder, experiment, opened)
        tracker = open_tracker(setting, experiment.name, folder)
        watched = SweepTracker(tracker, facts, real_set(opened, experiment), single=True)
        progress = ProgressLine(setting.console, "train", 1, experiment.training.images)
        observers = Observers([watched, progress])
        place, origin = trial_folder(folder, 0), facts.provenance()
        with progress:
            observers.started(0, experiment, {}, (place / "latest.pt").exists())
            try:
                reason = ""
                if experiment.sweep.workers_per_trial == 1:
                    run_here(experiment, opened, selection, place, origin, observers)
                else:
                    reason = run_group(experiment, opened, selection, place, origin, observers, setting.ray_address)
            except NonFiniteLoss as error:
                reason = str(error)
            except BaseException:
                observers.interrupted(0)
                watched.drain()
                finish_tracking(setting, tracker)
                raise
            observers.finished(0, "failed" if reason else "finished", reason)
        watched.drain()
        finish_tracking(setting, tracker)
    setting.say(f"checkpoints and samples in {place}")
    return 1 if reason else 0
