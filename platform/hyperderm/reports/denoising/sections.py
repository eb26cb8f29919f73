"""The content of the report of a denoising, and its tables as CSV."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from matplotlib.figure import Figure

from hyperderm.reports.denoising import figures
from hyperderm.reports.document import Cell, Column, Content, Drawing, Row, Section, Table
from hyperderm.reports.number_format import number
from hyperderm.reports.scene_files import CUBE, CUBE_ENVI
from hyperderm.reports.segmentation.sections import loss_file, network_warnings, training_section
from hyperderm.reports.table_files import csv_text
from hyperderm.studies.denoising import AXES, FILTER, INPUT, METHODS, NET, ORDER, Denoising

SCENES = "scenes.csv"
TITLES = {"rmse": "root mean square error", "psnr": "PSNR, dB", "angle": "mean spectral angle, rad"}


def content(found: Denoising, facts: Mapping[str, str]) -> Content:
    """Return the whole report; `facts` are the name and value of what made it."""
    scenes = found.request.scenes
    return Content(
        title=f"{'Store ' if scenes.tags else ''}{scenes.name} without noise",
        subtitle=f"{scenes.address}: {scenes.shape[0]} x {scenes.shape[1]} pixels, {scenes.shape[2]} bands",
        answer=(answer(found),),
        verdicts=(),
        warnings=tuple(_warnings(found)),
        sections=tuple(_sections(found, facts)),
    )


def answer(found: Denoising) -> str:
    """Return one or two sentences: which way comes closest to the truth, or that no truth is known."""
    if not found.known:
        size, angle = (number(found.median(NET, name), 4) for name in ("rmse", "angle"))
        return (
            f"The autoencoder changed the cubes by {size} (root mean square) and {angle} rad. No truth is known of these "
            "cubes, so nobody can say how much of that was noise."
        )
    errors = {way: found.median(way, "rmse") for way in found.scored}
    angles = {way: found.median(way, "angle") for way in found.scored}
    best, nearest = min(errors, key=lambda way: errors[way]), min(angles, key=lambda way: angles[way])
    told = ", ".join(f"{way} {number(value, 4)}" for way, value in errors.items())
    shape = f"by spectral angle: {nearest}, {number(angles[nearest], 4)} rad"
    verdict = (
        f"the autoencoder takes noise away (cubes as measured: {number(errors[INPUT], 4)})"
        if errors[NET] < errors[INPUT]
        else f"the autoencoder takes more away than noise: cubes as measured are closer, {number(errors[INPUT], 4)}"
    )
    return f"Closest to the truth by root mean square error: {best} ({told}); {shape}. So {verdict}."


def csv_files(found: Denoising) -> dict[str, str]:
    """Return the tables as CSV by file name."""
    names = [(way, name) for way in (INPUT, *METHODS) for name in TITLES]
    rows = (
        (
            *(one.name, one.diagnosis, one.role, one.masked, one.known),
            *(getattr(one.scores[way], name) if way in one.scores else None for way, name in names),
        )
        for one in found.scenes
    )
    head = ("name", "diagnosis", "role", "masked_pixels", "truth_known", *(f"{way}: {name}" for way, name in names))
    return {SCENES: csv_text(head, rows), **loss_file(found.coding)}


def _warnings(found: Denoising) -> Iterator[str]:
    masked, total = found.masked
    if masked:
        yield f"{masked} of {total} pixels have NaN or infinite values: they stay NaN in the reconstruction."
    yield from network_warnings(found.coding, found.request.scenes.shape[2])
    unknown = sum(not one.known for one in found.scenes)
    if found.known and unknown:
        yield f"The truth of {unknown} of {len(found.scenes)} cubes is not known: they are in no score."
    if found.coding.coder.by_shape:
        yield (
            "The autoencoder keeps the length of every pixel's spectrum as it was measured and changes shapes alone, so "
            f"beside its {found.coding.latent} latent numbers it has one more than the principal components."
        )


def _sections(found: Denoising, facts: Mapping[str, str]) -> Iterator[Section]:
    said = (
        "The phantom's cubes are drawn again without noise, saturation and rounding; this counts as the truth only where "
        "the cube with noise comes out bit for bit as it is stored."
        if found.known
        else "No truth is known: the table says how far each way moves the cubes, which is not how well it does. A way that "
        "does nothing would have 0."
    )
    yield Section(
        "scores",
        "Against the truth" if found.known else "Size of what was taken away",
        (said,),
        (_drawing("errors", partial(figures.errors, found), "Every scene is a value; orange lines are medians."),),
        tuple(_tables(found)),
    )
    yield Section(
        "spectra",
        "Spectra of chosen pixels",
        drawings=(_drawing("spectra", partial(figures.spectra, found), "Pixels that the seed chose."),),
    )
    yield Section(
        "pictures",
        "Scenes",
        (
            f"{CUBE} holds the autoencoder's cube{'s' * (not found.request.scenes.single)}"
            + (
                f", {CUBE_ENVI[0]} the same in ENVI format."
                if found.request.scenes.single
                else f", in the order of {SCENES}."
            ),
        ),
        (
            _drawing(
                "pictures",
                partial(figures.pictures, found),
                "Below each scene the root mean square over bands of its distance from "
                f"{'the truth' if found.known else 'the cube as measured'}, on one scale (that of {FILTER} left out).",
            ),
        ),
    )
    yield training_section(found.coding)
    made = (
        f"{FILTER}: windows of {found.window} bands, polynomials of degree {min(ORDER, found.window - 1)}. {AXES}: the mean "
        f"and the first {found.coding.latent} directions of {found.drawn[0] - found.drawn[1]} pixels, as measured.",
        f"{found.drawn[0]} pixels were drawn, {found.drawn[1]} of them held out from the autoencoder.",
        f"Autoencoder: {found.coding.made}.",
    )
    yield Section("made", "How it was made", items=(*made, *(f"{name}: {value}" for name, value in facts.items())))


def _tables(found: Denoising) -> Iterator[Table]:
    names = [name for name in TITLES if found.known or name != "psnr"]
    roles = [None, "validation"] if any(one.role == "validation" for one in found.scenes) else [None]
    for role in roles:
        rows = tuple(
            Row((Cell(way), *(Cell(number(found.median(way, name, role), 2 if name == "psnr" else 5)) for name in names)))
            for way in found.scored
        )
        count = sum(one.known == found.known and role in (None, one.role) for one in found.scenes)
        whose = (
            "of validation alone, by which the state of a network trained here is chosen"
            if role
            else "of all roles that may be read"
        )
        plural = f"Medians over {count} cubes {whose}." if not found.request.scenes.single else "One scene."
        yield Table(plural, (Column("way", words=True), *(Column(TITLES[name]) for name in names)), rows)


def _drawing(name: str, draw: Callable[[], Figure], caption: str) -> Drawing:
    return Drawing(name, draw, caption, caption)
