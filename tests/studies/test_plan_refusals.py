"""What is refused in the plan rather than after hours of training a generator."""

import pytest

from hyperderm.errors import ConfigError
from tests.studies.grids import plan


def refused(message: str, *args, **changes) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(*args, **changes)


def test_photographs_that_are_cubes(real):
    refused("is a store of cubes, not of photographs", real, rgb=real.location.path)


def test_more_derived_cubes_than_sources_give(real):
    message = r"\d+ different cubes of melanoma cannot be made from \d+ train cubes in 8 orientations; .* --set rgb=URI"
    refused(message, real, ratios=[9.0])


@pytest.mark.parametrize("what", ["sets", "searches", "generator_settings"])
def test_settings_of_a_generator_that_is_not_there(real, what):
    values = {"generator_settings": {"fastgan": {"seed": 1}}}.get(what, {"fastgan": {"0": "x"}})
    refused(f"{what} names 'fastgan', which is not one of generators", real, **{what: values})


def test_a_fold_that_is_no_number(real):
    refused("sets names fold 'zero'", real, sets={"shsgan": {"zero": "x"}})


def test_pretraining_on_what_is_learnt_anyway_is_left_out(real):
    made = plan(real, arms=["synthetic", "both"])
    assert {arm for arm, _, _ in made.left_out} == {"shsgan_both_x1"}
    assert all("learns every class of the task anyway" in reason for _, _, reason in made.left_out)
    assert not any("both" in arm for arm, _, _ in made.contrasts)
