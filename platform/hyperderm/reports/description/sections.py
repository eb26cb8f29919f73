"""The content of the description of a store, from its first sentence to how it was made."""

import json
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from hyperderm.cubes.diagnosis import UNKNOWN
from hyperderm.reports.description import figures, tables
from hyperderm.reports.document import Content, Drawing, Section
from hyperderm.reports.figure_parts import spoken
from hyperderm.studies.description import LESION, SHARES, WHOLE, Description

BRIGHT = 3.0
"""Reflectance above which values are remarked on; reflexes of the real data set reach 1.9 (METHODS section 1)."""
MOST_ASIDE = 50
"""Number of files set aside that the page lists."""
NEVER_CHOOSE = (
    "This page shows lesions of all roles, those of every test role among them, as papers describe a data set before "
    "anything is trained. No model is made from it and no test role is opened by it; audit leaks lists it as a description.",
    "Choose no model, setting or threshold by what it shows of single lesions: that would be a choice on the test role.",
)


def content(found: Description, facts: Mapping[str, str]) -> Content:
    """Return the whole report.

    Args:
        found: the description.
        facts: name to value of what made the report.
    """
    manifest = found.store.manifest
    return Content(
        title=f"What store {found.store.name} holds",
        subtitle=f"{found.store.location.uri}, fingerprint {manifest.fingerprint}",
        answer=(answer(found),),
        verdicts=missing(found),
        warnings=_warnings(found),
        sections=tuple(_sections(found, facts)),
    )


def answer(found: Description) -> str:
    """Return one sentence: what the store holds."""
    manifest, total = found.store.manifest, found.total
    height, width, bands = manifest.shape
    kinds = ", ".join(f"{spoken(name)} {count.lesions}" for name, count in found.counts.items())
    what = {"phantom": "phantom lesions (simulated skin)", "generate": "synthetic cubes"}.get(
        str(manifest.source.get("verb")), "photographs of lesions" if manifest.kind == "rgb" else "lesions"
    )
    nm = manifest.wavelengths_nm
    return (
        f"{total.lesions} {what} from {total.images} source image{'s' * (total.images != 1)} in {total.groups} "
        f"group{'s' * (total.groups != 1)}: {kinds}; cubes of {height} x {width} pixels in {bands} bands from {nm[0]:g} to "
        f"{nm[-1]:g} nm, {sum(part.bytes for part in manifest.parts) / 1e6:.1f} MB."
    )


def missing(found: Description) -> tuple[str, ...]:
    """Return a sentence for everything that the store does not hold, and one on where a synthetic set comes from."""
    said, total = [], found.total
    if origin := found.origin:
        derived = (
            "each keeps the geometry of a lesion of that train role, so they are no new lesions"
            if origin.derived
            else "they are made from noise or from photographs, not from single lesions of that role"
        )
        said.append(
            f"The cubes were made by generator {origin.generator} of run {origin.run} (checkpoint "
            f"{origin.checkpoint[:12]}), which was trained on the train role of fold {origin.fold} of store "
            f"{origin.manifest[:12]}; {derived}."
        )
    if set(found.kinds) == {UNKNOWN}:
        said.append("The store holds no diagnoses, so nothing is told by diagnosis.")
    elif UNKNOWN in found.kinds:
        said.append(f"{found.counts[UNKNOWN].lesions} of {total.lesions} lesions have no diagnosis.")
    if not total.masks:
        said.append("The store holds no masks, so spectra are those of whole cubes, and areas of lesions are not known.")
    elif total.masks < total.lesions:
        said.append(
            f"{total.lesions - total.masks} of {total.lesions} lesions have no mask: they count in whole cubes alone, not "
            "in the spectra of lesion and skin."
        )
    if not found.folds:
        said.append("The store has no folds, so it has no roles of its own.")
    return tuple(said)


def _warnings(found: Description) -> tuple[str, ...]:
    said, broken = list(found.store.manifest.warnings), int(found.bands.broken.sum())
    if broken:
        said.append(f"{broken} values are NaN or infinite; they count in no other number here.")
    if found.store.manifest.kind != "rgb" and np.nanmax(found.bands.high, initial=0.0) > BRIGHT:
        band = int(np.nanargmax(found.bands.high))
        said.append(
            f"The largest value is {found.bands.high[band]:.3g}, at {found.store.manifest.wavelengths_nm[band]:g} nm; "
            "white is 1. Such pixels are reflexes or faults, and scaling or endmembers that follow extremes follow them."
        )
    return tuple(said)


def _sections(found: Description, facts: Mapping[str, str]) -> Iterator[Section]:
    yield Section("roles", "What this page is for", items=NEVER_CHOOSE, boxed=True)
    yield Section("cubes", "Cubes", drawings=(_sheet(found),))
    yield Section(
        "counts",
        "Lesions, images, groups",
        paragraphs=("A group is the patient where the source names patients, and the source image otherwise; folds never "
                    "split it.",),
        tables=(tables.counts_table(found),),
    )  # fmt: skip
    yield _sizes(found)
    yield Section("bands", "Values of the bands", drawings=(_values(found),), tables=(tables.bands_table(found),))
    yield Section("spectra", "Mean spectra", drawings=tuple(_spectra(found)), tables=(tables.spectra_table(found),))
    if found.folds:
        yield Section(
            "folds",
            "Folds",
            paragraphs=(_roles(found),),
            tables=(tables.folds_table(found),),
        )
    if aside := found.store.manifest.set_aside:
        words = f"The ingest could not use {len(aside)} file{'s' * (len(aside) != 1)}."
        yield Section("aside", "Files set aside", paragraphs=(words,), tables=(tables.aside_table(found, MOST_ASIDE),))
    elif found.store.manifest.source.get("verb") == "ingest":
        yield Section("aside", "Files set aside", paragraphs=("None, as far as the manifest of the store knows.",))
    yield Section("made", "How this was made", items=tuple(_made(found, facts)), code=_again(found))


def _sheet(found: Description) -> Drawing:
    how = "pseudo-RGB at one gain and one white balance (skin is shown in one tone)"
    if found.store.manifest.kind == "rgb":
        how = "the colours of the photographs"
    elif not found.coloured:
        how = "the mean of all bands in grey, because these bands give no pseudo-RGB"
    outline = " The white and black line is the border of the mask." if found.total.masks else ""
    return Drawing(
        "cubes",
        partial(figures.contact_sheet, found),
        "Contact sheet of cubes by diagnosis, with the outlines of their masks.",
        f"Cubes by diagnosis: {how}.{outline} They are evenly spread over the sorted ids of each diagnosis, so that nobody "
        "chose them for their looks and the same store gives the same ones; how many are not shown stands beside each name. "
        "Most of what the bands hold cannot be seen in three colours.",
    )


def _sizes(found: Description) -> Section:
    if not found.sizes:
        text = "The store records neither crops nor masks, so sizes of lesions are not known."
        return Section("sizes", "Sizes", paragraphs=(text,))
    height, width, _ = found.store.manifest.shape
    said = [f"Every cube has {height} x {width} pixels."]
    if not any(size.quantity.startswith("crop") for size in found.sizes):
        said.append("The store records no crops: it was not cut from larger images, or whoever made it did not say.")
    if any(size.quantity == "lesion_area" for size in found.sizes):
        said.append("The area in the source follows from the share of the frame that its mask covers (four decimals).")
    return Section("sizes", "Sizes", paragraphs=(" ".join(said),), tables=(tables.sizes_table(found),))


def _values(found: Description) -> Drawing:
    low, _, high = SHARES
    negative = tables.share(int(found.bands.negative.sum()), int(found.bands.finite.sum()))
    return Drawing(
        "values",
        partial(figures.band_values, found),
        "Range of the values of each band.",
        f"All pixels of all cubes, band by band: bars from {100 * low:g} % to {100 * high:g} % of the values. "
        f"{negative} of all values lie below 0. Dots far from a bar are few pixels: reflexes, overexposed cubes, or faults.",
    )


def _spectra(found: Description) -> Iterator[Drawing]:
    regions = " and ".join(region for region in found.regions if region != WHOLE) or WHOLE
    outside = (
        " Lesion is what the mask marks; surrounding skin is what lies outside it and a margin of 6 % of the side, without "
        "black corners of the lens."
        if LESION in found.regions
        else ""
    )
    if len(found.kinds) > 1:
        more = len(found.kinds) - figures.MOST_CURVES
        rest = f" {more} rarer diagnos{'es are' if more > 1 else 'is is'} only in the figure below." if more > 0 else ""
        yield Drawing(
            "spectra-together",
            partial(figures.curves, found),
            f"Mean spectra of {regions}, one curve a diagnosis.",
            f"Mean over lesions of their mean spectra; their numbers stand in the key.{outside} Ratios near 1 are bands "
            f"in which a lesion looks like its skin.{rest}",
        )
    yield Drawing(
        "spectra",
        partial(figures.by_diagnosis, found),
        f"Mean spectra of {regions} with the spread between lesions, by diagnosis.",
        f"Mean ± 1 standard deviation between lesions, which a single lesion does not have.{outside} Overlapping bands do "
        "not say that lesions cannot be told apart: a lesion and its own skin vary together.",
    )


def _roles(found: Description) -> str:
    folds = found.store.manifest.folds
    assert folds is not None
    return (
        f"{folds.count} folds, drawn with seed {folds.seed}. With fold k as the test role, fold k + 1 is validation and the "
        "others are train."
    )


def _made(found: Description, facts: Mapping[str, str]) -> Iterator[str]:
    manifest = found.store.manifest
    yield f"fingerprint of the store: {manifest.fingerprint}"
    if manifest.source:
        told = {name: value for name, value in manifest.source.items() if name != "audit"}
        yield f"the store was made with: {json.dumps(told, ensure_ascii=False)}"
    else:
        yield "the store does not say how it was made"
    yield from (f"{name}: {value}" for name, value in facts.items())


def _again(found: Description) -> str:
    return f"from hyperderm.workflows import describe\n\ndescribe({found.store.location.uri!r})"
