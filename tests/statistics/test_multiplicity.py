import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperderm.statistics.multiplicity import FAMILY_LEVEL, holm

P = st.lists(st.one_of(st.floats(0, 1), st.sampled_from((0.01, 0.0125, 0.02, 0.04, 0.05))), min_size=1, max_size=12)


def step_down(p):
    """Holm 1979, as written."""
    order = np.argsort(p, kind="stable")
    rejected = np.zeros(len(p), bool)
    for i, at in enumerate(order):
        if p[at] > FAMILY_LEVEL / (len(p) - i):
            break
        rejected[at] = True
    return rejected.tolist()


def test_textbook_family():
    p = [0.01, 0.04, 0.03, 0.005]
    made = holm(p)
    assert [round(each.adjusted_p, 10) for each in made] == [0.03, 0.06, 0.06, 0.02]
    assert [value <= each.alpha for value, each in zip(p, made, strict=True)] == [True, False, False, True]
    assert [each.alpha for each in made] == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])


@settings(max_examples=300, deadline=None)
@given(P)
def test_is_the_step_down_procedure_and_the_levels_agree_with_it(p):
    made = holm(p)
    assert [value <= each.alpha for value, each in zip(p, made, strict=True)] == step_down(p)  # so an interval of 1 − α
    for value, each in zip(p, made, strict=True):
        assert FAMILY_LEVEL / len(p) <= each.alpha <= FAMILY_LEVEL
        assert each.adjusted_p >= value
        if abs(each.adjusted_p - FAMILY_LEVEL) > 1e-12:
            assert (each.adjusted_p <= FAMILY_LEVEL) == (value <= each.alpha)


def test_an_empty_family():
    assert holm([]) == []
