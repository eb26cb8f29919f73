"""The orders in which cubes are kept, on features whose meaning is known."""

import numpy as np
import pytest

from hyperderm.curation.keeping import Described, by_confidence, by_judge
from hyperderm.errors import StudyError


def described(features: np.ndarray, name: str) -> Described:
    return Described(features, [f"{name} {row}" for row in range(len(features))])


def test_confidence_is_the_side_of_the_class():
    """Melanoma is one feature above 0; the others are noise."""
    rng = np.random.default_rng(0)
    real = rng.standard_normal((200, 5))
    made = rng.standard_normal((60, 5))
    melanoma = real[:, 2] > 0
    order = by_confidence(described(made, "made"), described(real, "real"), melanoma, wanted=True)
    assert np.corrcoef(np.argsort(order), -made[:, 2])[0, 1] > 0.9
    turned = by_confidence(described(made, "made"), described(real, "real"), melanoma, wanted=False)
    assert turned.tolist() == order[::-1].tolist()
    with pytest.raises(StudyError, match="melanomas alone or none"):
        by_confidence(described(made, "made"), described(real, "real"), np.ones(200, bool), wanted=True)


def test_a_judge_puts_the_marked_last():
    """Half of the synthetic rows have a feature shifted by ten deviations."""
    rng = np.random.default_rng(1)
    real, made = rng.standard_normal((80, 6)), rng.standard_normal((40, 6))
    made[::2, 4] += 10
    order = by_judge(described(made, "made"), described(real, "real"))
    assert sorted(order[-20:].tolist()) == list(range(0, 40, 2))


def test_a_judge_has_not_seen_what_it_judges():
    """Without a difference, a judge that knew its rows would call each synthetic; a held-out one is right half the time."""
    from hyperderm.metrics.two_sample import held_out_scores

    rng = np.random.default_rng(2)
    features, made = rng.standard_normal((120, 100)), np.arange(120) < 60
    scores = held_out_scores(features, made, np.arange(120), 0)
    assert abs((scores[made] > 0).mean() - 0.5) < 0.2
    with pytest.raises(StudyError, match="needs 10 groups of each; there are 9 of synthetic cubes"):
        by_judge(described(features[:9], "made"), described(features, "real"))
