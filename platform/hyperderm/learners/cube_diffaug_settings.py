"""The settings of differentiable augmentation, and the rules for them. This module does not import torch."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from hyperderm.strict import Strict

KINDS = ("flips", "translation", "cutout")
"""What can be done to cubes, in the order in which it is done."""
SIGNED_LOSSES = ("bce", "hinge")
"""Losses under which zero divides the critic's scores into real and fake. The scores of the Wasserstein losses and of the
relativistic one have no zero: the same number added to all of them changes nothing."""


class DiffAugmentConfig(Strict):
    """How the cubes are changed that a critic sees (DiffAugment, Zhao et al. 2020; strength as in ADA, Karras et al. 2020).

    Real and generated cubes are changed alike, in the updates of both networks, and gradients pass through to the generator.
    """

    policy: str = "none"
    """none, or names joined by +. flips: each of both axes is turned with probability one half. translation: a shift by
    whole pixels, up to `shift`. cutout: a square hole. What has no pixel is filled with zero, the middle of each band's
    range."""
    shift: float = Field(0.125, gt=0, le=0.5)
    """Largest shift along each axis, as a share of the side; rounded to whole pixels."""
    cutout: float = Field(0.5, gt=0, le=1)
    """Side of the hole as a share of the cube's side. Its centre may lie anywhere, so that a part of it may lie outside."""
    strength: Literal["fixed", "adaptive"] = "fixed"
    """fixed: every kind is applied with `probability`. adaptive: with a probability that begins at 0 and follows the critic;
    it rises while the critic calls more than (1 + `target`) / 2 of the real cubes real, and falls otherwise."""
    probability: float = Field(1.0, ge=0, le=1)
    """Probability of each kind for each cube with `strength=fixed`; DiffAugment's is 1."""
    target: float = Field(0.6, gt=-1, lt=1)
    """Mean sign of the scores of real cubes that `strength=adaptive` aims at."""
    adapts_over: float = Field(500_000.0, gt=0)
    """Number of real images over which the adaptive probability can rise from 0 to 1. The default is ADA's, for trainings of
    25 million images. A run of fewer than a million needs a smaller number: a tenth of its images is a beginning."""

    @field_validator("policy")
    @classmethod
    def _known(cls, policy: str) -> str:
        names = policy.split("+")
        if "colour" in names or "color" in names:
            raise ValueError(
                "changes of colour would invent spectra: a gain or an offset of scaled cubes is another one in each band, "
                f"saturation mixes bands, and the generator would learn spectra of no tissue. Choose from {', '.join(KINDS)}"
            )
        if policy != "none" and (unknown := [name for name in names if name not in KINDS]):
            raise ValueError(f"{unknown[0]!r} is unknown. Use none, or names joined by +, of {', '.join(KINDS)}")
        if len(set(names)) < len(names):
            raise ValueError("a name is repeated. Give each once")
        return policy if policy == "none" else "+".join(name for name in KINDS if name in names)

    @model_validator(mode="after")
    def _one_probability(self) -> Self:
        if self.strength == "adaptive" and self.probability < 1:
            raise ValueError(
                f"learner.diffaug.probability = {self.probability} with learner.diffaug.strength = adaptive is refused: the "
                "adaptive probability begins at 0. Use learner.diffaug.strength=fixed, or leave the probability out"
            )
        if self.strength == "adaptive" and self.policy == "none":
            raise ValueError(
                "learner.diffaug.strength = adaptive with learner.diffaug.policy = none is refused: there is nothing to "
                "adapt. Use learner.diffaug.policy=flips+translation+cutout, or learner.diffaug.strength=fixed"
            )
        return self

    @property
    def adapts(self) -> bool:
        """Whether the probability follows the critic."""
        return self.strength == "adaptive"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names in `policy`, in the order of `KINDS`."""
        return () if self.policy == "none" else tuple(self.policy.split("+"))


def check_strength(diffaug: DiffAugmentConfig, loss: str) -> None:
    """Refuse an adaptive strength under a loss whose scores have no zero.

    Raises:
        ValueError: the message names both fields and the remedy.
    """
    if diffaug.strength == "adaptive" and loss not in SIGNED_LOSSES:
        raise ValueError(
            f"learner.diffaug.strength = adaptive with learner.loss = {loss} is refused: it follows the sign of the "
            "critic's scores, and with this loss a number added to all scores changes nothing. Use "
            f"learner.diffaug.strength=fixed, or learner.loss={' or '.join(SIGNED_LOSSES)}"
        )
