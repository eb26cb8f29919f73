"""The words for diagnoses in tables and annotation tools."""

import re
import unicodedata

from hyperderm.cubes.diagnosis import DIAGNOSES

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
"""Maps the words for a diagnosis in tables, in lower case and with underscores, to our diagnoses."""

UNKNOWN = frozenset({"unknown", "unk", "indeterminate", "undetermined", "not_known", "na", "n_a", "nan", "none", "null"})
"""Words that tables use for an unknown diagnosis."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ATYPICAL = {"atypical", "dysplastic", "clark", "clarks"}
_OF_MELANOMA = _words(
    "melanoma malignant malign malignum mm primary cutaneous skin invasive in situ insitu is nos type subtype superficial "
    "superficially spreading ssm nodular nm acral acrolentiginous lentiginous alm lentigo maligna lmm lm desmoplastic "
    "amelanotic hypomelanotic nevoid spitzoid verrucous metastasis metastases metastatic recurrent early thin thick "
    "ulcerated regressive regressing mel"
)
"""Words that may stand beside "melanoma" in a diagnosis of melanoma."""
_OF_NEVUS = _words(
    "nevus nevi melanocytic nevocellular benign common typical nos type and or acquired congenital compound junctional "
    "junction dermal intradermal blue cellular combined recurrent persistent spitz reed halo sutton spilus speckled acral "
    "agminated balloon cell deficient inactivated deep penetrating genital flexural pigmented spindle lentiginous unna "
    "miescher papillomatous special anatomic site mild mildly moderate moderately severe severely low high grade"
)
"""Words that may stand beside "nevus" in a diagnosis of nevus; other words, such as `sebaceous`, change the diagnosis."""
_IN_BRACKETS = _words("mm cm less more than to up breslow clark level stage i ii iii iv v icd o snomed")
"""Words that, like anything with a digit, may stand in brackets after a diagnosis: thickness, level, codes."""
_ASIDES = re.compile(
    r"_(?:not_otherwise_specified|bap_?1|of_special(?:_anatomic)?_site|of_type"
    r"|(?:associated|arising|in_association)_(?:with|in|from|on)(?:_an?)?(?:_(?:pre)?existing)?(?:_\w+?)?_nevus)(?=_|$)"
)
"""Phrases of several words that do not change the diagnosis."""
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_DOUBT = re.compile(r"[?\N{INVERTED QUESTION MARK}]")


def plain_word(text: str) -> str:
    """Return a word in lower case, with `_` for everything but letters and digits, and `nevus` for the British `naevus`."""
    word = unicodedata.normalize("NFKC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "").replace("'", "")
    return re.sub(r"[\W_]+", "_", word).strip("_").replace("naevus", "nevus").replace("naevi", "nevi")


def known(text: str) -> str | None:
    """Return our diagnosis for a table's word, or None if there is none.

    The ISIC archive's kinds of melanoma and nevus (`Melanoma, NOS`, `Nevus, Spitz`) count as melanoma and nevus; atypical
    nevi count as dysplastic nevi. Every further word must be known not to change the diagnosis: `melanoma excluded`, `nevus
    vs melanoma`, `melanoma?` and `Nevus sebaceous` give None.
    """
    if _DOUBT.search(text):
        return None
    if found := LABELS.get(plain_word(text)):
        return found
    word = _ASIDES.sub("", plain_word(_BRACKETS.sub(" ", text)))
    words = set(word.split("_"))
    notes = " ".join(note[1:-1] for note in _BRACKETS.findall(text))
    beside = {part for part in _ASIDES.sub("", plain_word(notes)).split("_") if not re.search(r"\d", part)} - {""}
    if "melanoma" in words and words <= _OF_MELANOMA and beside <= _OF_MELANOMA | _IN_BRACKETS:
        return "melanoma"
    of_nevus = _OF_NEVUS | _ATYPICAL
    if words & {"nevus", "nevi"} and words <= of_nevus and beside <= of_nevus | _IN_BRACKETS:
        return "dysplastic_nevus" if _ATYPICAL & (words | beside) else "nevus"
    return LABELS.get(word) if beside <= _IN_BRACKETS else None


def is_unknown(text: str) -> bool:
    """Return whether a table's word means that the diagnosis is unknown."""
    return plain_word(text) in UNKNOWN
