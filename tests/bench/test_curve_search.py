"""The search for a setting in which a curve rises looks at one half of the lesions and leaves the other alone."""

from collections import Counter

import pytest

from tests.bench.curve_search import SETTINGS, SHARES, halved, tried
from tests.studies import grids


def test_halves_share_no_group_and_hold_half_of_each_diagnosis(tmp_path):
    whole = grids.store(tmp_path / "store", {"melanoma": 24, "dysplastic_nevus": 41})
    halves = [halved(whole, half, tmp_path / str(half)) for half in (0, 1)]
    groups, names = ([set(each.index().column(of).to_pylist()) for each in halves] for of in ("group", "lesion_id"))
    assert not groups[0] & groups[1]
    assert names[0] | names[1] == set(whole.index().column("lesion_id").to_pylist())
    counts = [Counter(each.index().column("diagnosis").to_pylist()) for each in halves]
    assert all(abs(counts[0][name] - counts[1][name]) <= 1 for name in whole.manifest.diagnoses)
    assert sum(counts, Counter()) == whole.manifest.diagnoses


@pytest.mark.slow
def test_a_setting_is_told_in_a_line(tmp_path, ray_cluster, monkeypatch):
    half = halved(grids.store(tmp_path / "store", {"melanoma": 60, "dysplastic_nevus": 60}), 0, tmp_path / "half")
    monkeypatch.setitem(SETTINGS, "tiny", (grids.SIZE, SETTINGS["spectral_10"][1]))
    line = tried("tiny", half, tmp_path, ray_cluster, 1)
    assert line.startswith("tiny ")
    assert all(f"real@{share:g} " in line for share in SHARES)
