"""What the JSON files of a grid's folder must hold, so that a damaged one is named and nothing is computed from it."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

Part = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Declared(BaseModel):
    contrast: tuple[str, str, str]
    at: datetime


class _Named(BaseModel):
    name: str


class _Job(BaseModel):
    key: str
    stage: str
    label: str
    fold: int
    experiment: dict[str, Any] | None
    needs: list[str]
    arm: str
    model: str
    seed: int


class _PlanFile(BaseModel):
    declared: list[_Declared] = []
    arms: list[_Named] = []
    left_out: list[tuple[str, str, str]] = []
    models: list[str] = []
    seeds: list[int] = []
    folds: list[int] = []
    jobs: list[_Job] = []
    commands: list[str] = []


class _Ended(BaseModel):
    ended: str
    seconds: float
    outputs: dict[str, str]


class _Failed(BaseModel):
    reason: str


class _Cell(BaseModel):
    fold: int


class _Contrast(BaseModel):
    arm: str
    reference: str
    model: str
    lesion_variance: Part | None = None
    seed_variance: Part | None = None
    stretch: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    cells: Annotated[list[_Cell], Field(min_length=1)]


class _Analysis(BaseModel):
    resamples: int
    seed: int
    contrasts: list[_Contrast]


class _Identity(BaseModel):
    size: Annotated[int, Field(strict=True, gt=0)]


PLAN_FILE = TypeAdapter(_PlanFile)
RESULT_FILE = TypeAdapter(_Ended)
FAILURE_FILE = TypeAdapter(_Failed)
FEEDS_FILE = TypeAdapter(dict[str, str])
ANALYSIS_FILE = TypeAdapter(_Analysis)
IDENTITY_FILE = TypeAdapter(_Identity)


def wrong(shape: TypeAdapter[Any], found: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return in words the first thing of a file that is not as it must be; "" if all is."""
    try:
        shape.validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where or 'the whole'}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return ""
