"""The differences between diagnoses: the ranges from which each lesion draws its traits.

The ranges follow the ABCD rule of dermoscopy (W. Stolz et al., Eur. J. Dermatol. 4, 1994: asymmetry, border, colours,
differential structures), pattern analysis (H. Pehamberger et al., J. Am. Acad. Dermatol. 17, 1987), the seven-point
checklist (G. Argenziano et al., Arch. Dermatol. 134, 1998: atypical network, blue-whitish veil, streaks, dots and globules,
blotches, regression, atypical vessels) and, for the rest, the chaos-and-clues algorithm (H. Kittler et al. 2011). The ranges
overlap on purpose: a regular melanoma and an alarming dysplastic nevus both occur.
"""

from dataclasses import dataclass, fields, replace
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")
Range = tuple[float, ...]
"""(p, low, high): with probability p the value is uniform between low and high, otherwise it is 0."""

NONE: Range = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class TraitSet(Generic[T]):
    """The look of one lesion in numbers, or the possible looks of lesions of one diagnosis in ranges.

    Attributes:
        melanin: the melanosome fraction the lesion adds to the epidermis; as a range (median, σ of the logarithm).
        pheomelanin: share of pheomelanin in this melanin; raised in dysplastic nevi (T. G. Salopek et al., PNAS 88, 1991).
        relief: how much brighter or darker a raised lesion is lit than the flat skin around it (± this, bounded).
        elongation: long over short axis, minus 1.
        asymmetry: uneven outline and off-centre pigment.
        irregularity: ragged border (amplitude, in radii).
        notch: bites out of the border, "moth-eaten" when many.
        fuzziness: width of the border's fall (radii).
        abruptness: how unevenly sharp the border is around the lesion.
        mottle: cloudiness of the pigment.
        core: darker centre, paler rim (the two browns of a dysplastic nevus).
        blotch, pale, veil, regression, red: covered share of dark, light-brown, blue-grey, white and red areas.
        network, disorder: depth of the pigment network and how irregular its mesh is.
        globules, dots: depth of brown globules and of small black dots.
        streaks: radial streaks and pseudopods on a segment of the border.
        cysts, comedones, scale, vessels: white cysts, dark plugs, white scale, coiled (glomerular) vessels.
        redness: blood added to the whole lesion, relative to skin.
    """

    melanin: T
    elongation: T
    asymmetry: T
    irregularity: T
    notch: T
    fuzziness: T
    abruptness: T
    mottle: T
    core: T
    blotch: T
    pale: T
    veil: T
    regression: T
    red: T
    network: T
    disorder: T
    globules: T
    dots: T
    streaks: T
    cysts: T
    comedones: T
    scale: T
    vessels: T
    redness: T
    pheomelanin: T
    relief: T


Traits = TraitSet[float]
_USUAL: dict[str, Range] = {
    **dict.fromkeys((
        "abruptness", "core", "blotch", "pale", "veil", "regression", "red", "network", "globules", "dots", "streaks",
        "cysts", "comedones", "scale", "vessels",
    ), NONE),
    "mottle": (1.0, 0.05, 0.2),
    "disorder": (1.0, 0.2, 0.5),
    "redness": (0.7, 0.0, 0.4),
    "pheomelanin": (1.0, 0.15, 0.45),
    "relief": (1.0, 0.04, 0.14),
}  # fmt: skip
"""The ranges of a diagnosis that names no others."""


def _ranges(**own: Range) -> TraitSet[Range]:
    return TraitSet(**_USUAL | own)


_MELANOMA = _ranges(
    melanin=(0.178, 0.22),
    elongation=(1.0, 0.05, 0.7),
    asymmetry=(1.0, 0.25, 1.0),
    irregularity=(1.0, 0.06, 0.20),
    notch=(0.7, 0.05, 0.25),
    fuzziness=(1.0, 0.025, 0.08),
    abruptness=(1.0, 0.2, 1.0),
    mottle=(1.0, 0.15, 0.45),
    core=(0.6, 0.1, 0.6),
    blotch=(0.85, 0.10, 0.45),
    pale=(0.7, 0.10, 0.35),
    veil=(0.60, 0.10, 0.45),
    regression=(0.35, 0.05, 0.25),
    red=(0.45, 0.08, 0.35),
    network=(0.55, 0.2, 0.7),
    disorder=(1.0, 0.4, 1.0),
    globules=(0.5, 0.2, 0.9),
    dots=(0.6, 0.3, 1.0),
    streaks=(0.4, 0.3, 1.0),
    vessels=(0.15, 0.2, 0.6),
    redness=(0.8, 0.0, 0.7),
    pheomelanin=(1.0, 0.2, 0.55),
    relief=(1.0, 0.10, 0.20),
)

_DYSPLASTIC = _ranges(
    melanin=(0.138, 0.15),
    elongation=(1.0, 0.02, 0.6),
    asymmetry=(1.0, 0.08, 0.55),
    irregularity=(1.0, 0.03, 0.13),
    notch=(0.4, 0.03, 0.14),
    fuzziness=(1.0, 0.05, 0.16),
    abruptness=(0.5, 0.1, 0.6),
    mottle=(1.0, 0.08, 0.3),
    core=(0.85, 0.2, 0.75),
    blotch=(0.3, 0.05, 0.2),
    pale=(0.4, 0.05, 0.25),
    veil=(0.06, 0.05, 0.15),
    regression=(0.12, 0.04, 0.15),
    red=(0.2, 0.05, 0.2),
    network=(0.75, 0.25, 0.75),
    disorder=(1.0, 0.15, 0.7),
    globules=(0.45, 0.2, 0.8),
    dots=(0.35, 0.2, 0.7),
    streaks=(0.06, 0.2, 0.5),
    redness=(0.6, 0.0, 0.5),
    pheomelanin=(1.0, 0.35, 0.75),
    relief=(1.0, 0.13, 0.25),
)

_NEVUS = _ranges(
    melanin=(0.100, 0.45),
    elongation=(1.0, 0.0, 0.45),
    asymmetry=(1.0, 0.0, 0.2),
    irregularity=(1.0, 0.01, 0.05),
    notch=NONE,
    fuzziness=(1.0, 0.05, 0.11),
    mottle=(1.0, 0.05, 0.20),
    core=(0.7, 0.1, 0.5),
    disorder=(1.0, 0.05, 0.25),
    network=(0.4, 0.15, 0.4),
    globules=(0.4, 0.2, 0.6),
)

TRAITS: dict[str, TraitSet[Range]] = {
    "melanoma": _MELANOMA,
    "dysplastic_nevus": _DYSPLASTIC,
    "nevus": _NEVUS,
    # A melanocytic lesion without a firmer name: between the dysplastic and the common nevus, sometimes alarming.
    "melanocytic_lesion": replace(
        _DYSPLASTIC,
        melanin=(0.120, 0.55),
        asymmetry=(1.0, 0.05, 0.6),
        irregularity=(1.0, 0.01, 0.12),
        fuzziness=(1.0, 0.03, 0.13),
        blotch=(0.4, 0.05, 0.25),
        network=(0.5, 0.2, 0.6),
    ),
    # Solar lentigo: flat, even light brown, sharp moth-eaten edge.
    "solar_lentigo": _ranges(
        melanin=(0.100, 0.35),
        elongation=(1.0, 0.1, 0.7),
        asymmetry=(1.0, 0.1, 0.5),
        irregularity=(1.0, 0.05, 0.12),
        notch=(1.0, 0.2, 0.45),
        fuzziness=(1.0, 0.02, 0.045),
        mottle=(1.0, 0.03, 0.12),
        network=(0.3, 0.1, 0.3),
        redness=(0.5, 0.0, 0.2),
        disorder=(1.0, 0.05, 0.25),
    ),
    # Seborrhoeic keratosis: stuck on, sharp border, milia-like cysts, comedo-like openings.
    "seborrhoeic_keratosis": _ranges(
        melanin=(0.130, 0.45),
        elongation=(1.0, 0.05, 0.5),
        asymmetry=(1.0, 0.05, 0.4),
        irregularity=(1.0, 0.01, 0.06),
        notch=(0.3, 0.03, 0.1),
        fuzziness=(1.0, 0.012, 0.03),
        mottle=(1.0, 0.1, 0.3),
        pale=(0.3, 0.05, 0.25),
        cysts=(0.9, 0.4, 1.0),
        comedones=(0.85, 0.4, 1.0),
        scale=(0.4, 0.05, 0.25),
        relief=(1.0, 0.10, 0.25),
    ),
    # Intraepidermal carcinoma (Bowen): red scaly plaque, glomerular vessels in clusters, little melanin.
    "intraepidermal_carcinoma": _ranges(
        melanin=(0.010, 0.50),
        elongation=(1.0, 0.05, 0.6),
        asymmetry=(1.0, 0.1, 0.5),
        irregularity=(1.0, 0.03, 0.10),
        notch=NONE,
        fuzziness=(1.0, 0.03, 0.08),
        red=(1.0, 0.3, 0.6),
        scale=(1.0, 0.15, 0.45),
        vessels=(1.0, 0.5, 1.0),
        redness=(1.0, 1.2, 2.5),
    ),
}


def draw_traits(rng: np.random.Generator, diagnosis: str) -> Traits:
    """Draw one lesion's traits from the ranges of its diagnosis."""
    ranges = TRAITS[diagnosis]
    median, sigma = ranges.melanin
    values = {"melanin": float(median * np.exp(sigma * rng.standard_normal()))}
    for name in (f.name for f in fields(TraitSet) if f.name != "melanin"):
        p, low, high = getattr(ranges, name)
        present, value = rng.random() < p, float(rng.uniform(low, high))
        values[name] = value if present else 0.0
    return Traits(**values)
