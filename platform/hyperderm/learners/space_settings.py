"""The settings of the space in which a generator makes cubes. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hyperderm.errors import ConfigError
from hyperderm.learners.spec import DOUBLE, UNMIXING, LearnerConfig, Role

if TYPE_CHECKING:
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest

ENDMEMBERS = 5
"""The number of endmembers where none is asked for: the seed's."""
UNMIXER = "unmixer"
"""The kind of learner whose runs give endmembers."""
RESIDUAL_COPIES = 14
"""Copies of train in double precision that are alive while the residual model is fitted (measured: 13.8)."""
OF_SPACE = (UNMIXING, "endmembers", "endmembers_by")
"""The settings of the abundance space."""


class SpaceConfig(LearnerConfig):
    """The settings that every generator has: the space of its cubes, and what it is scored by."""

    role: ClassVar[Role] = "generator"
    objective: ClassVar[str] = "spectral_energy_distance"
    yardsticks: ClassVar[tuple[str, ...]] = ("floor_real_vs_real", "score_of_mean_cube")
    inputs: ClassVar[tuple[str, ...]] = (UNMIXING,)
    space: Literal["cube", "abundance"] = "cube"
    """What networks see and make: scaled bands, or the abundances of endmembers (`abundance_space.AbundanceSpace`)."""
    unmixing: str | None = Field(None, min_length=1)
    """The run of an unmixing net, of the same store and fold, whose endmembers span the abundance space. None: they are
    found among the pixels of train."""
    endmembers: int | None = Field(None, ge=2, le=64)
    """Number of endmembers that are found among the pixels of train; None: 5. A run of an unmixing net has its own."""
    endmembers_by: Literal["sisal", "nfindr", "vca"] | None = None
    """The classical method that finds them; None: SISAL, whose simplex holds nearly all pixels."""

    @model_validator(mode="after")
    def _space_fits(self) -> Self:
        given = [name for name in OF_SPACE if getattr(self, name) is not None]
        if given and self.space == "cube":
            raise ValueError(
                f"learner.{given[0]} = {getattr(self, given[0])} with learner.space = cube is refused: it has no effect. "
                "Use learner.space=abundance, or leave it out"
            )
        if len(given) > 1 and given[0] == UNMIXING:
            raise ValueError(
                f"learner.{given[1]} = {getattr(self, given[1])} beside learner.unmixing = {self.unmixing} is refused: that "
                "run has its own endmembers. Give one of them"
            )
        return self

    def scoring_bytes(self, pixels: int, bands: int, train: int, validation: int) -> int:
        """See `LearnerConfig.scoring_bytes`.

        The mean cube needs train in double precision; features need the arrays of a few cubes at a time. The larger counts.
        """
        from hyperderm.metrics.spectra import AT_ONCE

        mean, pieces = max(train, validation), 3 * min(AT_ONCE, train)
        residuals = RESIDUAL_COPIES * train if self.space == "abundance" else 0
        return max(mean, pieces, residuals) * pixels * bands * DOUBLE

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`: photographs are learnt as the abundances that an unmixing net sees in them."""
        super().check(run)
        if run.data.photographs is not None and (self.space == "cube" or self.unmixing is None):
            raise ValueError(
                f"data.photographs = {run.data.photographs} with learner.space = {self.space} and learner.unmixing = "
                f"{self.unmixing} is refused: a photograph has three colours. Use learner.space=abundance and "
                "learner.unmixing=RUN, a run of an unmixing net that sees colours "
                "(hyperderm train unmixer --set learner.bands=rgb)"
            )

    def check_store(self, manifest: Manifest) -> None:
        """See `LearnerConfig.check_store`: there cannot be more endmembers than bands."""
        super().check_store(manifest)
        bands, count = len(manifest.wavelengths_nm), self.endmembers or ENDMEMBERS
        if self.space == "abundance" and self.unmixing is None and count > bands:
            raise ConfigError(
                f"learner.endmembers = {count}: the store has {bands} bands",
                f"Use --set learner.endmembers={bands} or less.",
            )

    def in_space(self, run: Run, data: TrainData) -> TrainData:
        """See `LearnerConfig.in_space`: abundances, if `space` says so."""
        if self.space == "cube":
            return data
        from hyperderm.learners.spaces import in_abundance_space

        return in_abundance_space(self, run, data)

    def check_input(self, name: str, other: LearnerConfig, trained: Run, run: Run) -> None:
        """See `LearnerConfig.check_input`: an unmixing net of reflectance, for photographs one that sees colours."""
        if name == UNMIXING:
            check_unmixing(other, colours=run.data.photographs is not None)


def check_unmixing(other: LearnerConfig, colours: bool) -> None:
    """Refuse a run whose endmembers cannot span an abundance space.

    Args:
        other: the learner of the run.
        colours: whether its net must see colours.

    Raises:
        ConfigError: it is no unmixing net, or one of pixels of unit length, or it does not see colours.
    """
    if other.kind != UNMIXER:
        raise ConfigError(
            f"it is of learner.kind = {other.kind}, which has no endmembers", "Name a run of `hyperderm train unmixer`."
        )
    if getattr(other, "unit_length", False):
        raise ConfigError(
            "it unmixed pixels of unit length (learner.unit_length = true), so its mixtures have no brightness",
            "Name a run that was trained with learner.unit_length=false.",
        )
    if colours and getattr(other, "bands", "") != "rgb":
        raise ConfigError(
            "it sees all bands, and photographs have three colours", "Name a run that was trained with learner.bands=rgb."
        )
