"""What the JSON files of a grid's folder must hold, so that a damaged one is named and nothing is computed from it."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from hyperderm.grid_config import Checkpoint
from hyperderm.studies.ablation.jobs import Stage


def instant(text: str) -> str:
    """Return an ISO time with its zone as it is, and refuse every other text: times without a zone cannot be compared."""
    try:
        if datetime.fromisoformat(text).tzinfo is not None and datetime.fromisoformat(text).astimezone(UTC):
            return text
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError("instant", "input should be an ISO time with its zone, such as 2026-01-31T12:00:00Z")


Part = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[int, Field(strict=True, ge=0)]
Instant = Annotated[str, AfterValidator(instant)]


class _Declared(BaseModel):
    contrast: tuple[str, str, str]
    at: Instant


class _Arm(BaseModel):
    name: str
    description: str
    learner: dict[str, Any] = {}
    generator: str | None = None
    variant: str = ""
    checkpoint: str = ""
    use: str = ""
    ratio: Part | Literal["balance"] = 1.0
    control: str | None = None
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    labels: str = ""
    curation: dict[str, str] = {}
    rebuilt: bool = False
    word: str = ""
    chosen_from: list[str] = []


class _Job(BaseModel, extra="forbid"):
    key: str
    stage: Stage
    label: str
    fold: Number
    experiment: dict[str, Any] | None
    needs: list[str]
    arm: str
    model: str
    seed: Number
    counts: dict[str, Number] = {}
    store: str = ""
    gpus: Part = 0.0
    source: str = ""
    inputs: dict[str, str] = {}
    workers: Annotated[int, Field(strict=True, gt=0)] = 1
    rebuilt: bool = False
    curation: dict[str, str] = {}
    drawn: dict[str, Number] = {}
    checkpoint: Checkpoint = "best"

    @model_validator(mode="after")
    def _trains(self) -> Self:
        if (self.experiment is None) != (self.stage == "synthetic"):
            said = "is drawn and not trained" if self.experiment else "has no experiment"
            raise PydanticCustomError("experiment", "this {stage} {said}", {"stage": self.stage, "said": said})
        return self


class _PlanFile(BaseModel):
    declared: list[_Declared] = []
    arms: list[_Arm] = []
    left_out: list[tuple[str, str, str]] = []
    models: list[str] = []
    seeds: list[Number] = []
    folds: list[Number] = []
    jobs: list[_Job] = []
    commands: list[str] = []

    @model_validator(mode="after")
    def _names_what_it_holds(self) -> Self:
        keys, arms = {job.key for job in self.jobs}, {arm.name for arm in self.arms}
        for job in self.jobs:
            said = {
                "job": f"{job.stage} {job.label}",
                "arm": job.arm,
                "need": next((n for n in job.needs if n not in keys), ""),
            }
            if said["need"]:
                raise PydanticCustomError("needs", "{job} needs job {need}, which is lost", said)
            if job.stage == "cell" and job.arm not in arms:
                raise PydanticCustomError("arm", "{job} is of arm {arm}, which is lost", said)
        return self


class _Spent(BaseModel):
    seconds: Part
    began: Instant


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


class _Point(BaseModel):
    arm: str
    share: Annotated[float, Field(gt=0, le=1)]


class _Slope(BaseModel):
    value: Annotated[float, Field(allow_inf_nan=False)] | None


class _Curve(BaseModel):
    model: str
    points: Annotated[list[_Point], Field(min_length=1)]
    slope: _Slope

    @model_validator(mode="after")
    def _has_two(self) -> Self:
        if self.slope.value is not None and len({each.share for each in self.points}) < 2:
            raise PydanticCustomError("curve", "a slope needs two different shares")
        return self


class _Analysis(BaseModel):
    resamples: int
    seed: int
    contrasts: list[_Contrast]
    curves: list[_Curve] = []


class _Identity(BaseModel):
    size: Annotated[int, Field(strict=True, gt=0)]


PLAN_FILE = TypeAdapter(_PlanFile)
SPENT_FILE = TypeAdapter(_Spent)
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
