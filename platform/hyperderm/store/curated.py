"""The words for what is done to a drawn synthetic set before a classifier is shown it."""

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from hyperderm.cubes.diagnosis import Diagnosis
from hyperderm.strict import Strict

Keep = Literal["random", "judge", "confidence", "copies", "all"]
Match = Literal["moments", "noise", "both"]


class Curation(Strict):
    """What is done to a synthetic set: which of its cubes are kept, and how they are changed.

    Everything is learnt from the set and the train role of its own fold alone. `keep` comes first, then `match`.
    """

    keep: Keep | None = None
    """Which cubes of a larger set (the pool) are kept; the number is always given.

    random: drawn at random. judge: those that a logistic regression tells least surely from real train cubes of the same
    diagnosis, each judged by a regression that has not seen it. confidence: those that a regression fitted to real train
    cubes calls most surely what they should be. copies: the first ones that the memorisation audit calls no copies. all:
    copies are left out, then the judge keeps as many as the geometric mean of both numbers, and of these the most sure ones
    are kept. None: the first ones.
    """
    match: Match | None = None
    """What of train the cubes are given, in every diagnosis and band. moments: mean and standard deviation of all pixels.
    noise: the power of fine detail (`curation.matching`). both: noise, then moments. None: the cubes are not changed."""
    named: Diagnosis | None = None
    """The diagnosis that all cubes are called, whatever they were drawn as: a negative control. None: their own."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self == Curation.model_construct():
            raise ValueError("nothing is asked for. Give keep, match or named")
        return self


class Curated(Strict):
    """How a curated set came from its pool, as its manifest records it."""

    asked: Curation
    pool: str = Field(min_length=8)
    """The fingerprint of the set from which the cubes were chosen."""
    drawn: dict[str, int]
    """Diagnosis to the number of cubes, the first ones of the pool, among which was chosen."""
    seed: int = Field(ge=0)
    """The seed of choices at random and of added noise."""
    copies: int = Field(0, ge=0)
    """The number of drawn cubes that were left out because the audit called them copies."""
    clipped: float = Field(0.0, ge=0, le=1)
    """Share of the values that matching put outside the range of the train cubes, and that were set to its end."""

    @model_serializer(mode="wrap")
    def _in_short(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was not asked for."""
        found: dict[str, Any] = dump(self)
        found["asked"] = {name: value for name, value in found["asked"].items() if value is not None}
        return found
