"""The setting by which a generator is told the diagnosis. This module does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from hyperderm.errors import ConfigError
from hyperderm.learners.space_settings import SpaceConfig
from hyperderm.learners.spec import Condition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.settings import Run
    from hyperderm.store.manifest import Manifest


class ToldConfig(SpaceConfig):
    """The settings of a generator that may be told the diagnosis, whether it is trained in steps or fitted at once."""

    conditioning: Literal["none", "class"] = "none"
    """Whether the generator is told the diagnosis, so that cubes of a given diagnosis can be made."""

    @property
    def condition(self) -> Condition:
        """A diagnosis, or nothing."""
        return "class" if self.conditioning == "class" else "none"

    @property
    def told_apart(self) -> Mapping[str, Any]:
        """See `LearnerConfig.told_apart`."""
        return {"learner.conditioning": "class"}

    def check(self, run: Run) -> None:
        """See `LearnerConfig.check`."""
        super().check(run)
        if self.conditioning == "class" and run.data.diagnoses != "all" and len(run.data.diagnoses) < 2:
            raise ValueError(
                f"learner.conditioning = class with one diagnosis ({run.data.diagnoses[0]}) is refused: there is nothing to "
                "tell apart. Use data.diagnoses=all, or several"
            )

    def check_store(self, manifest: Manifest) -> None:
        """See `LearnerConfig.check_store`: classes need at least two diagnoses."""
        super().check_store(manifest)
        if self.conditioning == "class" and len(manifest.diagnoses) < 2:
            raise ConfigError(
                f"learner.conditioning = class on a store of {', '.join(manifest.diagnoses)} alone is refused: there is "
                "nothing to tell apart",
                "Use another store, or --set learner.conditioning=none.",
            )
