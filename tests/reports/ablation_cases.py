"""Analyses and facts made by hand, for the tests of the ablation's report: no statistics, plausible numbers."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from hyperderm.reports.ablation.facts import (
    REAL,
    CellFailure,
    Cells,
    Cost,
    Declaration,
    Dose,
    Protection,
    ReportFacts,
    StoreFacts,
    SyntheticSet,
)
from hyperderm.statistics.ablation_results import (
    METRICS,
    Analysis,
    ArmResult,
    BaselineComparison,
    CellValue,
    Contrast,
    ContrastResult,
    Counts,
    Curve,
    Decision,
    DelongCheck,
    DiagnosisErrors,
    Estimate,
    HardLesion,
)
from hyperderm.statistics.predictions import Predictions

MODELS = ("spectral_logistic", "small_cnn")
ARMS = (REAL, "oversampled_1", "shsgan_1", "shsgan_only")
SMALL_DOSES = {"shsgan_1": Dose("shsgan", 1.0, "oversampled_1")}
FULL_DOSES = {
    f"{generator}_{name}": Dose(generator, ratio, f"oversampled_{name}")
    for generator in ("shsgan", "fastgan")
    for name, ratio in (("quarter", 0.25), ("half", 0.5), ("1", 1.0), ("balance", 2.06), ("4", 4.0))
}
FULL_ARMS = (
    REAL, "real_classic", *dict.fromkeys(dose.control for dose in FULL_DOSES.values()), "focal", *FULL_DOSES,
    "shsgan_only", "shsgan_pretrained",
)  # fmt: skip
WHEN = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


def contrasts(models=MODELS, doses=SMALL_DOSES):
    asked = [(arm, reference) for arm, dose in doses.items() for reference in (REAL, dose.control)]
    return tuple(Contrast(arm, reference, model) for model in models for arm, reference in asked)


def analysis(models=MODELS, arms=ARMS, doses=SMALL_DOSES, folds=range(5), seeds=(0, 1, 2), seed=0):
    draw = np.random.default_rng(seed)
    folds, seeds = tuple(folds), tuple(seeds)
    found = tuple(_contrast(draw, c, folds, seeds) for c in contrasts(models, doses))
    return Analysis(
        lesions=330, groups=260, melanomas=85, melanoma_groups=80, folds=folds, seeds=seeds, models=tuple(models),
        arm_names=tuple(arms), resamples=2000, seed=0, family_level=0.05,
        arms=tuple(_arm(draw, arm, model, folds, seeds) for arm in arms for model in models),
        contrasts=found, decisions=tuple(_decision(found, model, arm, d) for model in models for arm, d in doses.items()),
        baselines=tuple(
            BaselineComparison(m, models[0], Estimate(-0.013, -0.04, 0.02, "BCa"), 0.3)
            for m in models[1:]
        ),
        diagnoses=tuple(
            DiagnosisErrors(name, truth, arm, model, n, float(k := draw.integers(0, n)), k / n)
            for name, truth, n in (("melanoma", 1, 85), ("dysplastic_nevus", 0, 175))
            for model in models
            for arm in arms
        ),
        hardest=tuple(_hard(draw, model, k, arms) for model in models for k in range(8)),
        notes=("One data set from one centre: nothing here speaks of other cameras or other patients.",),
    )  # fmt: skip


def facts(models=MODELS, arms=ARMS, doses=SMALL_DOSES, folds=range(5), seeds=(0, 1, 2), **changes):
    folds, seeds = tuple(folds), tuple(seeds)
    generators = dict.fromkeys(dose.generator for dose in doses.values())
    made = ReportFacts(
        name="synthetic_vs_real", profile="full",
        store=StoreFacts("derm-64", "0f" * 32, (64, 64), 16, {"melanoma": 85, "dysplastic_nevus": 175}, "dysplastic_nevus"),
        folds=folds, seeds=seeds, models={m: f"{m}, 16 bands in, one logit out, from scratch" for m in models},
        arms={arm: f"what {arm.replace('_', ' ')} is given" for arm in arms}, doses=dict(doses),
        declared=Declaration(contrasts(models, doses), WHEN, "ab" * 32),
        sets=tuple(
            SyntheticSet(g, k, 260, 3, False, "cd" * 32, 0.012, False, "in pixels", 0.62)
            for g in generators
            for k in folds
        ),
        protections=(
            Protection("Generators saw the train role of their own fold only", "5 of 5 checkpoints name their fold", True),
            Protection("Leak audit", "no lesion, image or group in two roles", True),
        ),
        cells=Cells(len(arms) * len(models) * len(folds) * len(seeds), len(arms) * len(models) * len(folds) * len(seeds)),
        costs={arm: Cost(0.8 + 0.1 * i, 1.5, 0.4 * (arm in doses), 0.1) for i, arm in enumerate(arms)},
        steps=dict.fromkeys(arms, 4000), versions={"torch": "2.15.0", "ray": "2.60.0"}, git_commit="12ab" * 10,
        jobs_by={"12ab" * 10: 60},
        lock_sha256="34cd" * 16, started=WHEN, ended=WHEN.replace(day=2, hour=5), picture=picture,
        recompute="hyperderm ablation synthetic_vs_real",
    )  # fmt: skip
    return replace(made, **changes)


def predictions(models=MODELS, arms=ARMS, folds=range(5), seeds=(0,), lesions=16, seed=0):
    """A third of the lesions of a fold are melanomas; scores are the truth plus noise that arms share in part."""
    draw = np.random.default_rng(seed)
    parts = []
    for fold in folds:
        truth = (np.arange(lesions) % 3 == 0).astype(int)
        shared = draw.normal(0, 1, lesions)
        for model in models:
            for arm in arms:
                for s in seeds:
                    raw = 1 / (1 + np.exp(-(1.4 * (2 * truth - 1) + shared + draw.normal(0, 0.6, lesions))))
                    parts.append(_columns(fold, truth, arm, model, s, raw))
    return Predictions.from_columns({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _columns(fold, truth, arm, model, seed, raw):
    names = [f"L{fold}-{i}" for i in range(len(truth))]
    same = {"fold": fold, "seed": seed, "arm": arm, "model": model, "threshold": 0.45, "cell": f"{arm}{model}{fold}{seed}"}
    return {
        "lesion_id": names, "group": names, "diagnosis": np.where(truth == 1, "melanoma", "dysplastic_nevus"),
        "truth": truth, "probability": np.clip(0.1 + 0.8 * raw, 0, 1), "raw_probability": raw,
        **{name: np.repeat(value, len(truth)) for name, value in same.items()},
    }  # fmt: skip


def picture(lesion_id):
    """A brown disc on skin, (48, 48, 3) uint8; another shade for every lesion."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    shade = sum(map(ord, lesion_id)) % 60
    made = np.full((48, 48, 3), (224, 178, 150), np.uint8)
    made[x**2 + 1.6 * y**2 < 0.4] = (90 + shade, 60 + shade // 2, 45)
    return made


def failed(facts, count=3):
    """The same facts of an interrupted grid: some cells failed, some never started."""
    planned = facts.cells.planned
    broken = tuple(CellFailure("shsgan_1", "small_cnn", k, 0, "loss is NaN at step 12") for k in range(count))
    return replace(facts, cells=Cells(planned, planned - count - 2, broken))


def _estimate(value, half=0.05):
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), "BCa over groups")


def _arm(draw, arm, model, folds, seeds):
    level = float(draw.uniform(0.7, 0.9))
    values = {key: level + float(draw.normal(0, 0.02)) for key in METRICS}
    values |= {"brier": 0.15, "calibration_error": 0.06}
    metrics = {key: _estimate(value) for key, value in values.items()}
    reason = "with 17 melanomas a fold, no threshold reaches a sensitivity of .95 in fold 3"
    metrics["specificity_at_sensitivity_95"] = Estimate(None, None, None, "", reason)
    cells = {
        key: tuple(CellValue(f, s, value + float(draw.normal(0, 0.03))) for f in folds for s in seeds)
        for key, value in values.items()
    }
    x = np.linspace(0, 1, 101)
    counts = tuple(Counts(s, 60.0 + s, 25.0 - s, 40.0, 135.0) for s in seeds)
    power = (1 - level) / level
    curve = _curve(x, x**power)
    return ArmResult(
        arm, model, metrics, cells, counts,
        Counts(None, 60.0 + float(np.mean(seeds)), 25.0 - float(np.mean(seeds)), 40.0, 135.0),
        curve, _curve(x, 1 - 0.67 * x ** (1 / power)), 0.093,
    )  # fmt: skip


def _curve(x, y):
    half = 0.06 * np.sqrt(4 * np.clip(y * (1 - y), 0, 1))
    return Curve(*(tuple(map(float, v)) for v in (x, y, np.clip(y - half, 0, 1), np.clip(y + half, 0, 1))))


def _contrast(draw, asked, folds, seeds):
    d, se = float(draw.normal(0.0, 0.025)), float(draw.uniform(0.008, 0.02))
    p = float(min(1.0, 2 * np.exp(-0.717 * abs(d) / se - 0.416 * (d / se) ** 2)))
    cells = tuple(CellValue(f, s, d + float(draw.normal(0, 0.03))) for f in folds for s in seeds)
    return ContrastResult(
        asked.arm, asked.reference, asked.model, d, d - 1.96 * se, d + 1.96 * se, d - 2.6 * se, d + 2.6 * se, p,
        min(1.0, 4 * p), se, 3.4 * se, cells, DelongCheck(d, d - 2 * se, d + 2 * se, p), "BCa over groups, t",
    )  # fmt: skip


def _decision(found, model, arm, dose):
    pair = [c for c in found if (c.arm, c.model) == (arm, model)]
    verdict = "helps" if all(c.adjusted_low > 0 for c in pair) else "cannot tell"
    verdict = "hurts" if all(c.adjusted_high < 0 for c in pair) else verdict
    return Decision(arm, model, dose.control, verdict, max(c.detectable for c in pair))


def _hard(draw, model, k, arms):
    truth = int(draw.integers(0, 2))
    chance = {arm: float(np.clip(abs(1 - truth - draw.uniform(0, 0.5)), 0, 1)) for arm in arms}
    name = "melanoma" if truth else "dysplastic_nevus"
    wrong = {arm: float(abs(truth - p) > 0.5) for arm, p in chance.items()}
    error = float(np.mean([abs(truth - p) for p in chance.values()]))
    return HardLesion(
        f"{name[:2].upper()}{draw.integers(1, 400)}-{k}", f"g{k}", name, truth, k % 5, model, error, chance, wrong
    )
