"""The settings of cubes that an unmixing net makes from colours. This module does not import torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hyperderm.errors import ConfigError
from hyperderm.learners.space_settings import SpaceConfig, check_unmixing
from hyperderm.learners.spec import UNMIXING, Condition, LearnerConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.learners.base import Compute, Learner, Sampler
    from hyperderm.learners.data import TrainData
    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest


class ColourUnmixingConfig(SpaceConfig):
    """The settings of a generator that is an unmixing net which sees three colours (METHODS section 7), and nothing else.

    The net of the run `learner.unmixing` (Yu, Pan et al., CVPR 2024) sees abundances in an RGB image. A cube is E·a + ε:
    the mixture of these abundances by the net's endmembers, and a draw of what mixtures leave out of train cubes. Nothing is
    trained. Three colours do not fix a mixture of five endmembers, so the spectra of a cube are the net's estimate; the
    geometry is that of the image. Cubes are made from the pseudo-RGB of train cubes, or from photographs (`generate --rgb`,
    a grid's `rgb`), which may show lesions that train does not hold.
    """

    fit_once: ClassVar[bool] = True
    kind: Literal["colour_unmixing"] = "colour_unmixing"
    space: Literal["abundance"] = "abundance"
    """Cubes are mixtures."""
    residual: bool = True
    """Whether ε is added; without it, every pixel is exactly a mixture of the endmembers."""

    @property
    def condition(self) -> Condition:
        """The condition of this generator, an RGB image."""
        return "rgb"

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`: there is no training in which photographs could be shown."""
        if run.data.photographs is not None:
            raise ValueError(
                f"data.photographs = {run.data.photographs} with learner.kind = {self.kind} is refused: it learns nothing, "
                "it makes cubes from photographs. Leave it out, and give them to hyperderm generate --rgb, or to a grid by "
                "--set rgb=URI"
            )

    def check_store(self, manifest: Manifest) -> None:
        """See `LearnerConfig.check_store`: the net must be named, and the bands must give a pseudo-RGB."""
        if self.unmixing is None:
            raise ConfigError(
                f"learner.unmixing = null with learner.kind = {self.kind} is refused: its cubes are what an unmixing net "
                "sees in colours",
                "Name a run of one: hyperderm train unmixer --name colours --set learner.bands=rgb, then --set "
                f'learner.unmixing=colours. In a grid: --set \'unmixers={{"{self.kind}":"unmixer"}}\' --set '
                '\'generator_settings={"unmixer":{"learner.bands":"rgb"}}\'.',
            )
        super().check_store(manifest)
        from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix

        pseudo_rgb_matrix(manifest.wavelengths_nm)

    def check_input(self, name: str, other: LearnerConfig, trained: Run, run: Run) -> None:
        """See `LearnerConfig.check_input`: an unmixing net of reflectance that sees colours."""
        if name == UNMIXING:
            check_unmixing(other, colours=True)

    def in_space(self, run: Run, data: TrainData) -> TrainData:
        """See `LearnerConfig.in_space`: the abundances of the net, with a residual of zero if `residual` is off."""
        found = super().in_space(run, data)
        if self.residual or found.space is None:
            return found
        return replace(found, space=found.space.without_residual())

    def build(self, run: Run, data: TrainData, compute: Compute) -> Learner:
        """See `LearnerConfig.build`."""
        from hyperderm.learners.colour_unmixing.learner import ColourUnmixingLearner

        return ColourUnmixingLearner(self, run, data, compute)

    def load_sampler(self, run: Run, checkpoint: Mapping[str, Any], device: str) -> Sampler:
        """See `LearnerConfig.load_sampler`."""
        from hyperderm.learners.colour_unmixing.learner import load

        return load(self, run, checkpoint, device)
