"""The power of a grid as a user asks for it: `--plan` tells it, `--pilot` says from what, `--power` chooses the grid."""

from pathlib import Path

from hyperderm.errors import ConfigError, StudyError
from hyperderm.grid_config import Ablation
from hyperderm.reports.power import Power, answer_takes, more_melanomas, out_of_reach, rounded_up
from hyperderm.statistics.ablation_results import LARGEST_GAIN
from hyperderm.statistics.power import OutOfReach
from hyperderm.store.reader import Store
from hyperderm.studies.ablation.curve_outlook import curve_power
from hyperderm.studies.ablation.outlook import outlook
from hyperderm.studies.ablation.pilot import read_pilot
from hyperderm.studies.ablation.plan import Plan, make_plan
from hyperderm.studies.ablation.records import declarations, joined
from hyperderm.workflows.workspace import GridRequest, Workspace


def power_of(workspace: Workspace, asked: GridRequest, plan: Plan, folder: Path) -> Power:
    """Return what the requested grid can show, with all that was asked of its folder earlier.

    Raises:
        StudyError: the pilot cannot serve, or a cell was asked for with other settings before.
    """
    pilot = None if asked.pilot is None else read_pilot(_folder(workspace, asked), plan.store, plan.grid)
    whole = joined(folder, plan)
    earlier = tuple(contrast for contrast, _ in declarations(folder))
    return Power(whole, outlook(whole, pilot), curve_power(whole, pilot), earlier)


def powered(workspace: Workspace, asked: GridRequest, store: Store, folder: Path) -> Ablation:
    """Return the requested grid with the folds and seeds that show the difference `asked.power`.

    Raises:
        ConfigError: the grid declares no comparison, or `--set` names other folds or seeds.
        StudyError: no grid of this store shows the difference, or the pilot cannot serve.
    """
    assert asked.power is not None
    least = make_plan(asked.grid.override({"folds": [0], "seeds": [0]}), store, asked.generators)
    known = power_of(workspace, asked, least, folder).comparisons
    if known is None:
        alone = " but of negative controls" if least.contrasts else ""
        raise ConfigError(
            f"--power {asked.power:g}: this grid declares no comparison{alone}",
            "Add an arm that has a control, or leave it out.",
        )
    found = known.needed(asked.power)
    if isinstance(found, OutOfReach):
        raise StudyError(
            f"--power: {out_of_reach(asked.power, found, len(known.tested))} ({known.sources[-1]})",
            f"{_instead(found)}; for {asked.power:g} {more_melanomas(found)}.",
        )
    chosen = {"folds": tuple(range(found.folds)), "seeds": tuple(range(found.seeds))}
    for name, values in chosen.items():
        given = getattr(asked.grid, name)
        given = tuple(range(len(known.tested))) if given == "all" else given
        if name in asked.fixed and set(given) != set(values):
            raise ConfigError(
                f"--power {asked.power:g} chooses {name} = {list(values)}, and --set {name} = {list(given)} contradicts it",
                f"Leave one of them out; --plan without --power tells what {name} = {list(given)} can show.",
            )
    workspace.say(
        f"--power {asked.power:g} chooses folds = {list(chosen['folds'])} and seeds = {list(chosen['seeds'])}",
        f"  a comparison then finds a true difference in AUROC of {asked.power:g} in 80 % of such studies; "
        f"{answer_takes(least)}",
    )
    return asked.grid.override({name: list(values) for name, values in chosen.items()})


def _instead(found: OutOfReach) -> str:
    """Return what to ask of a store that cannot show a difference."""
    if found.at_most_seeds >= LARGEST_GAIN:
        return "Leave --power out: this store shows no difference that is possible"
    return f"Ask for {rounded_up(found.at_most_seeds)} or more"


def _folder(workspace: Workspace, asked: GridRequest) -> Path:
    """Return the folder of the pilot, which is named by its path or by its name below the runs."""
    given = Path(str(asked.pilot))
    folder = given if given.is_dir() else workspace.runs(asked.runs) / given
    if not folder.is_dir():
        raise StudyError(
            f"--pilot {asked.pilot}: there is no such folder, also not in {workspace.runs(asked.runs)}",
            "Give the name or the folder of a finished grid.",
        )
    return folder
