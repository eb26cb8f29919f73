"""The baseline against scikit-learn fitted by hand: what repeats, weights and synthetic cubes mean to it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from hyperderm.errors import ConfigError
from hyperderm.learners.base import Compute
from hyperderm.learners.data import truth
from hyperderm.learners.decision_rule import fit_decision_rule
from hyperderm.learners.spectral_baseline.learner import SpectralBaseline
from hyperderm.metrics.lesion_features import automatic_masks, lesion_features
from hyperderm.training.checkpoint import BEST, CheckpointFolder
from hyperderm.training.context import local
from hyperderm.training.run import run
from tests.learners.tissue import MELANOMA, NEVUS, auroc, classifier, lesions, spectral
from tests.learning import built
from tests.training.tiny import CPU


def fitted(data, **overrides) -> SpectralBaseline:
    return built(spectral(**overrides), data, Compute(CPU))


def features(cubes, data):
    return lesion_features(cubes.numpy(), automatic_masks(cubes.numpy(), data.wavelengths_nm))


def by_hand(data, rows, weights=None, penalty=1.0):
    """Decisions on validation of a logistic regression on the given rows, each as often as it is named."""
    x, y = features(data.drawn[rows], data), truth(data.drawn_diagnoses)[rows].numpy()
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=1 / penalty, max_iter=5000).fit(scaler.transform(x), y, sample_weight=weights)
    return model.decision_function(scaler.transform(features(data.validation.reflectance, data)))


def judged(learner, data) -> np.ndarray:
    return learner.logits_of(data.validation.reflectance, data.validation.masks).numpy()


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_it_is_penalised_logistic_regression_on_the_features(penalty):
    data = lesions()
    np.testing.assert_allclose(
        judged(fitted(data, learner__penalty=penalty), data),
        by_hand(data, np.arange(24), None, penalty),
        rtol=1e-5,
        atol=1e-6,
    )


def shown_again(data) -> np.ndarray:
    """Every row, then the melanomas once more."""
    return np.concatenate([np.arange(24), np.flatnonzero(truth(data.train.diagnoses).numpy())])


def test_a_melanoma_shown_again_is_two_rows():
    data = lesions(8, 16)
    made = judged(fitted(data, learner__oversample=1.0), data)
    np.testing.assert_allclose(made, by_hand(data, shown_again(data)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", ["logistic", "boosting"])
def test_oversampling_is_what_synthetic_copies_of_the_same_melanomas_are(model):
    """The control and a generator that copies differ in nothing: no difference between their arms comes from the fit."""
    data = lesions(16, 24)
    copies = [row for row, name in enumerate(data.train.diagnoses) if name == MELANOMA]
    ids, kinds = (tuple(f"copy-{i}" for i in copies), (MELANOMA,) * len(copies))
    extra = replace(data.train, lesion_ids=ids, diagnoses=kinds, reflectance=data.train.reflectance[copies],
                    masks=data.train.masks[copies])  # fmt: skip
    control = judged(fitted(data, learner__model=model, learner__oversample=1.0), data)
    copied = judged(
        fitted(replace(data, extra=extra), learner__model=model, synthetic={"store": "made", "use": "add", "ratio": 1.0}),
        data,
    )
    np.testing.assert_allclose(copied, control, rtol=1e-6, atol=1e-8)


def test_boosting_finds_something_in_few_rows():
    data = lesions(12, 12)
    learner = fitted(data, learner__model="boosting")
    assert auroc(torch.from_numpy(judged(learner, data)), truth(data.validation.diagnoses)) > 0.9
    with pytest.raises(ConfigError, match=r"learner.penalty = 3.0 with learner.model = boosting is refused"):
        spectral(learner__model="boosting", learner__penalty=3.0)


def test_balanced_weights_make_the_classes_weigh_the_same():
    data = lesions(8, 16)
    weights = np.where(truth(data.train.diagnoses).numpy() == 1, 24 / 16, 24 / 32)
    made = judged(fitted(data, learner__class_weights="balanced"), data)
    np.testing.assert_allclose(made, by_hand(data, np.arange(24), weights), rtol=1e-5, atol=1e-6)
    both = judged(fitted(data, learner__class_weights="balanced", learner__oversample="balance"), data)
    doubled = by_hand(data, shown_again(data))
    np.testing.assert_allclose(both, doubled, rtol=1e-5, atol=1e-6)  # what is balanced already needs no weights


def test_synthetic_melanomas_are_fitted_beside_the_real_ones():
    data = lesions(8, 16, extra=(NEVUS, MELANOMA) * 20)
    rows = np.array([*range(24), 25, 27, 29, 31])
    made = judged(fitted(data, synthetic__store="set", synthetic__ratio=0.5), data)
    np.testing.assert_allclose(made, by_hand(data, rows), rtol=1e-5, atol=1e-6)
    alone = judged(fitted(data, synthetic__store="set", synthetic__use="only"), data)
    chosen = np.array([*range(25, 41, 2), *range(24, 56, 2)])
    np.testing.assert_allclose(alone, by_hand(data, chosen), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", ["logistic", "boosting"])
def test_melanoma_is_one_and_is_learnt(model):
    data = lesions(30, 60, depth=0.6, validation=24)
    learner = fitted(data, learner__model=model)
    assert auroc(torch.from_numpy(judged(learner, data)), truth(data.validation.diagnoses)) > 0.95
    again = fitted(data, learner__model=model)
    np.testing.assert_array_equal(judged(learner, data), judged(again, data))
    expected = fit_decision_rule(torch.from_numpy(judged(learner, data)), truth(data.validation.diagnoses)).metrics
    assert learner.validate().scores == expected


def test_drawn_masks_are_not_looked_at():
    """Synthetic cubes have none: a mask would tell the two apart."""
    data = lesions()
    learner = fitted(data)
    cubes = data.validation.reflectance
    full = torch.ones(len(cubes), 16, 16, dtype=torch.bool)
    assert torch.equal(learner.logits_of(cubes, data.validation.masks), learner.logits_of(cubes, full))


def test_a_run_is_one_report_and_its_checkpoint_repeats_the_fit(tmp_path):
    data, experiment = lesions(), spectral()
    (report,) = run(experiment, data, local(tmp_path))
    assert report.images == experiment.training.images
    saved = CheckpointFolder(tmp_path).load(BEST)
    assert (saved["images"], saved["learner"]) == (experiment.training.images, {})
    assert saved["best"] == report.metrics["calibrated_log_loss"]
    assert fitted(data).validate().scores == dict(report.metrics)


def test_pre_training_and_workers_are_refused_before_anything_is_read():
    values = {"synthetic__store": "set", "synthetic__use": "pretrain", "training__pretrain_images": 8}
    classifier(**values)
    with pytest.raises(ConfigError, match=r"synthetic.use = pretrain with learner.kind = spectral is refused"):
        spectral(**values)
    with pytest.raises(ConfigError, match=r"learner.kind = spectral with 2 workers is refused"):
        spectral(sweep__workers_per_trial=2)
