"""Diagnoses as tables and annotation tools call them."""

import re
import unicodedata

from hyperderm.cubes.cube import DIAGNOSES

LABELS: dict[str, str] = {
    **{name: name for name in DIAGNOSES},
    "mel": "melanoma",
    "malignant_melanoma": "melanoma",
    "lentigo_maligna": "melanoma",
    "lentigo_maligna_melanoma": "melanoma",
    "superficial_spreading_melanoma": "melanoma",
    "nodular_melanoma": "melanoma",
    "acral_lentiginous_melanoma": "melanoma",
    "malignant_melanocytic_proliferations_melanoma": "melanoma",
    "atypical_nevus": "dysplastic_nevus",
    "clark_nevus": "dysplastic_nevus",
    "common_nevus": "nevus",
    "melanocytic_nevus": "nevus",
    "melanocytic_nevi": "nevus",
    "nevi": "nevus",
    "nv": "nevus",
    "nev": "nevus",
    **{f"{kind}_nevus": "nevus" for kind in ("blue", "combined", "congenital", "dermal", "recurrent", "spitz", "benign")},
    "seborrheic_keratosis": "seborrhoeic_keratosis",
    "sk": "seborrhoeic_keratosis",
    "sek": "seborrhoeic_keratosis",
    "iec": "intraepidermal_carcinoma",
    "bowen_disease": "intraepidermal_carcinoma",
    "bowens_disease": "intraepidermal_carcinoma",
    "squamous_cell_carcinoma_in_situ": "intraepidermal_carcinoma",
}
"""What tables call a diagnosis, in lower case and with underscores, to ours."""

UNKNOWN = frozenset({"unknown", "unk", "indeterminate", "undetermined", "not_known", "na", "n_a", "nan", "none", "null"})
"""What tables write where nobody knows the diagnosis."""

_ATYPICAL = {"atypical", "dysplastic", "clark", "clarks"}
_NOT_MELANOCYTIC = {"sebaceous", "epidermal", "depigmentosus", "comedonicus", "flammeus", "anemicus", "of"}


def plain_word(text: str) -> str:
    """Return a word in lower case, everything but letters and digits as `_`, British `naevus` as `nevus`."""
    word = unicodedata.normalize("NFKC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "").replace("'", "")
    return re.sub(r"[\W_]+", "_", word).strip("_").replace("naevus", "nevus").replace("naevi", "nevi")


def known(text: str) -> str | None:
    """Return the diagnosis of ours that a table's word means, or None.

    The kinds of melanoma and of nevus that the ISIC archive writes (`Melanoma, NOS`, `Nevus, Spitz`) are melanoma and nevus,
    atypical nevi dysplastic ones; nevi that are not melanocytic (`Nevus sebaceous`) are none of ours.
    """
    word = plain_word(text)
    if word in LABELS:
        return LABELS[word]
    first, *more = word.split("_")
    if first == "melanoma":
        return "melanoma"
    if first == "nevus" and not _NOT_MELANOCYTIC & set(more):
        return "dysplastic_nevus" if _ATYPICAL & set(more) else "nevus"
    return None


def is_unknown(text: str) -> bool:
    """Return whether a table's word says that the diagnosis is not known."""
    return plain_word(text) in UNKNOWN
