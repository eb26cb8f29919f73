"""Compare the phantom with the published HSIDermoscopy statistics: `python -m tests.phantom.published` prints them.

Only the gain is fitted here, one number per band, to normal skin. Tests check the ratios of lesion to skin and the spread
between images; these depend on `traits`, `scene.Skin` and the camera.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hyperderm.phantom.optics import Vector, read_table
from hyperderm.phantom.rendering import PhantomLesion, phantom, sensor_gain

LESIONS = ("melanoma", "dysplastic_nevus")


@dataclass(frozen=True)
class BandStatistics:
    """The mean of the per-image mean spectra and their deviation between images; (B,) under "skin" and each diagnosis."""

    mean: dict[str, Vector]
    std: dict[str, Vector]

    def ratio(self, diagnosis: str) -> Vector:
        """Return the mean of a diagnosis divided by that of normal skin (B,)."""
        return self.mean[diagnosis] / self.mean["skin"]

    def spread(self, name: str) -> Vector:
        """Return the standard deviation between images divided by the mean (B,)."""
        return self.std[name] / self.mean[name]


def published() -> BandStatistics:
    """Return the statistics measured on the real data (tables/published_bands.csv)."""
    t = read_table("published_bands.csv")
    names = ("skin", *LESIONS)
    return BandStatistics({n: t[f"{n}_mean"] for n in names}, {n: t[f"{n}_std"] for n in names})


def measured(lesions: Iterable[PhantomLesion]) -> BandStatistics:
    """Return the statistics of a phantom: lesions over their masks, skin over the rest of every image."""
    spectra: dict[str, list[Vector]] = {n: [] for n in ("skin", *LESIONS)}
    for p in lesions:
        x, mask, diagnosis = p.lesion.cube.reflectance, p.lesion.mask, p.lesion.diagnosis
        if mask is None or diagnosis is None:
            continue
        spectra["skin"].append(x[~mask].mean(axis=0, dtype=np.float64))
        if diagnosis in LESIONS:
            spectra[diagnosis].append(x[mask].mean(axis=0, dtype=np.float64))
    stacks = {n: np.array(s) for n, s in spectra.items() if len(s) > 1}
    return BandStatistics(
        {n: s.mean(axis=0) for n, s in stacks.items()}, {n: s.std(axis=0, ddof=1) for n, s in stacks.items()}
    )


def fit_gain(statistics: BandStatistics) -> Vector:
    """Return the gain that maps this phantom's normal skin to the published means (ignoring saturation and noise)."""
    return sensor_gain() * published().mean["skin"] / statistics.mean["skin"]


def report(statistics: BandStatistics) -> str:
    """Return a table of the relative errors in per cent, one row per band."""
    want = published()
    columns = {"gain": fit_gain(statistics), "skin": 100 * (statistics.mean["skin"] / want.mean["skin"] - 1)}
    for d in LESIONS:
        columns[f"{d}/skin"] = 100 * (statistics.ratio(d) / want.ratio(d) - 1)
    for n in ("skin", *LESIONS):
        columns[f"spread {n}"] = 100 * (statistics.spread(n) / want.spread(n) - 1)
    lines = ["band  " + "  ".join(columns)]
    for b in range(want.mean["skin"].size):
        cells = (f"{v[b]:{len(name)}.{5 if name == 'gain' else 1}f}" for name, v in columns.items())
        lines.append(f"{b:4d}  " + "  ".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(measured(phantom(330, 64, 0))))
