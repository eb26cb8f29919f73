"""The settings of generators that make cubes from noise, or from noise and a diagnosis. Free of torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from hyperderm.errors import ConfigError
from hyperderm.learners.generative_settings import GenerativeConfig
from hyperderm.learners.spec import START, LearnerConfig
from hyperderm.learners.told_settings import ToldConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperderm.settings import Run

STARTS = (4, 7)
"""Possible sides, in pixels, of the first map of a generator that doubles its map."""


class DiagnosisConfig(ToldConfig, GenerativeConfig):
    """The settings of a generator that may be told the diagnosis, whatever the form of its noise.

    A generator that is told the diagnosis learns all diagnoses of `data.diagnoses` and can be asked for each of them: the
    rare class is learnt beside its peers (METHODS section 5, Few images).
    """

    network_fields: ClassVar[tuple[str, ...]] = (*GenerativeConfig.network_fields, "conditioning")
    balance_classes: bool = False
    """Whether, with `conditioning=class`, all diagnoses are shown equally often, instead of as often as in train."""

    @model_validator(mode="after")
    def _balance_what_is_told(self) -> Self:
        if self.balance_classes and self.conditioning == "none":
            raise ValueError(
                "learner.balance_classes = true with learner.conditioning = none is refused: a generator that is not told "
                "the diagnosis would learn another mixture than train's. Use learner.conditioning=class, or leave it out"
            )
        return self

    @property
    def balances(self) -> bool:
        """See `LearnerConfig.balances`."""
        return self.balance_classes

    @classmethod
    def migrated(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """See `LearnerConfig.migrated`: `conditioning` was once a truth value, `class_conditional`."""
        told = {"conditioning": "class" if saved["class_conditional"] else "none"} if "class_conditional" in saved else {}
        return {name: value for name, value in saved.items() if name != "class_conditional"} | told

    def check_input(self, name: str, other: LearnerConfig, trained: Run, run: Run) -> None:
        """See `LearnerConfig.check_input`: with classes, a run that is begun from must also have the same diagnoses."""
        super().check_input(name, other, trained, run)
        if name != START:
            return
        was, asked = trained.data.diagnoses, run.data.diagnoses
        if self.conditioning == "class" and ("all" in (was, asked) or set(was) != set(asked)) and was != asked:
            told = was if was == "all" else json.dumps(list(was))
            raise ConfigError(
                f"it was told other diagnoses (data.diagnoses = {told})",
                f"Use --set 'data.diagnoses={told}', or name another.",
            )


class NoiseConfig(DiagnosisConfig):
    """The settings of a generator from a noise vector, and perhaps a diagnosis."""

    network_fields: ClassVar[tuple[str, ...]] = (*GenerativeConfig.network_fields, "noise_dim", "conditioning")
    noise_dim: int = Field(100, ge=1, le=4096)
    """Length of the noise vector z."""


def stages(size: int) -> tuple[int, int]:
    """Return the side of the first map in pixels, and how often it is doubled, for cubes of `size` pixels.

    Raises:
        ValueError: the size is neither 4 nor 7 times a power of two of at least 4.
    """
    for start in STARTS:
        times, rest = divmod(size, start)
        if not rest and times >= 4 and not times & (times - 1):
            return start, times.bit_length() - 1
    raise ValueError(f"{size} pixels")


def check_doubled(size: int, network: str) -> None:
    """Refuse a size that a network which doubles a map of 4 or 7 pixels cannot reach.

    Args:
        size: H = W of the cubes in pixels.
        network: the name of the network, for the message.

    Raises:
        ValueError: the message names the possible sizes, and the nearest one.
    """
    try:
        stages(size)
    except ValueError:
        possible = [start * 2**k for start in STARTS for k in range(2, 9)]
        near = min(possible, key=lambda each: (abs(each - size), each))
        raise ValueError(
            f"data.size = {size} is refused: {network} doubles a map of 4 or 7 pixels. Choose 16, 28, 32, 56, 64 … 256, "
            f"such as {near}"
        ) from None
