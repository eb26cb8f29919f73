"""What the result.json of a job must hold, by the stage of the job.

A field is required if somebody reads it unconditionally; every result of today's `builder.VERSION` holds those. The others
are optional, because an earlier program may not have written them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from hyperderm.metrics.memorisation import describe, is_current
from hyperderm.metrics.recognisability import told_from_real
from hyperderm.store.manifest import Opening
from hyperderm.store.synthetic import SyntheticOrigin
from hyperderm.studies.ablation.jobs import Stage
from hyperderm.studies.ablation.shapes import Instant, Number, Part, instant

Positive = Annotated[int, Field(gt=0)]
Chance = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _readable(origin: SyntheticOrigin) -> SyntheticOrigin:
    """Refuse an audit of this version that the report could not describe; older ones are made anew before they are read."""
    audit = origin.audit
    if audit is None or not is_current(audit):
        return origin
    try:
        describe(audit)
        _AUDIT.validate_python({**audit, "recognisable": told_from_real(audit)})
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise PydanticCustomError("audit", "its audit is not as this version writes it") from None
    return origin


def _comparable(opened: dict[str, Any] | str) -> dict[str, Any] | str:
    """Refuse a time of an opening that has no zone; the leak audit says of every other fault that nothing was proven."""
    if (known := Opening.of(opened)) and known.at:
        instant(known.at)
    return opened


class _Audit(BaseModel, strict=True):
    share: Chance | None = None
    memorised: bool | None = None
    recognisable: Chance | None


class _Result(BaseModel, strict=True):
    began: Instant
    ended: Instant
    seconds: Part
    model: str
    outputs: dict[str, str]
    key: str = ""
    stage: Stage | None = None
    label: str = ""
    fold: Number = 0
    arm: str = ""
    seed: Number = 0
    workers: Positive = 1
    metrics: dict[str, Any] = {}
    code: str = ""
    device: str = ""


class _Generator(_Result):
    checkpoint: str = ""
    latest: str = ""
    train_lesions: Number = 0
    inputs: dict[str, str] = {}


class _Set(_Result):
    origin: Annotated[SyntheticOrigin, AfterValidator(_readable)]
    fingerprint: str = ""


class _Judgement(BaseModel, strict=True, extra="allow"):
    __pydantic_extra__: dict[str, Finite]
    calibrated_log_loss: Finite


class _Shown(BaseModel, strict=True):
    real: Number
    real_melanomas: Positive


class _Means(BaseModel, strict=True):
    real: Chance
    synthetic: Chance


class _Cell(_Result):
    judgement: _Judgement
    best_images: Number = 0
    chosen_at: Instant = ""
    test_opened: Annotated[dict[str, Any] | str, AfterValidator(_comparable)] = ""
    train: _Shown = _Shown(real=1, real_melanomas=1)
    feed: str = ""
    weights_sha256: str = ""
    test: dict[str, float] = {}
    shortcut: dict[str, _Means] = {}


class _Judged(BaseModel, strict=True):
    auroc: Chance | None
    real: Part
    synthetic: Part

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if self.auroc is not None and min(self.real, self.synthetic) < 1:
            raise PydanticCustomError("judged", "an AUROC needs cubes of both kinds")
        return self


class _Judge(_Result):
    judge: _Judged


RESULT_FILES: Mapping[Stage, TypeAdapter[Any]] = {
    "generator": TypeAdapter(_Generator),
    "synthetic": TypeAdapter(_Set),
    "cell": TypeAdapter(_Cell),
    "judge": TypeAdapter(_Judge),
}
_AUDIT = TypeAdapter(_Audit)
