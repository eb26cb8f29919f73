"""The content of the report of a segmentation, and its tables as CSV."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from hyperderm.reports.document import Cell, Column, Content, Drawing, Row, Section, Table
from hyperderm.reports.number_format import number
from hyperderm.reports.scene_figures import loss_curves
from hyperderm.reports.scene_files import CUBE, LABELS, LABELS_ENVI, MASK_FOLDER, PICTURES, TIFF
from hyperderm.reports.segmentation import figures
from hyperderm.reports.table_files import csv_text
from hyperderm.segmentation.clustering import FEWEST, RIDGE
from hyperderm.studies.segmentation import ALONE, LATENT, MASKS, OTSU, Segmentation
from hyperderm.studies.spectral_coding import CHECKPOINT, Coding

CLUSTERS, SCENES, LOSSES, AGREEMENT = "clusters.csv", "scenes.csv", "losses.csv", "agreement.csv"
RARE = 0.001
"""Share of the labelled pixels below which a cluster is remarked upon."""


def content(found: Segmentation, facts: Mapping[str, str]) -> Content:
    """Return the whole report; `facts` are the name and value of what made it."""
    scenes = found.request.scenes
    return Content(
        title=f"Clusters of the pixels of {'store ' if scenes.tags else ''}{scenes.name}",
        subtitle=f"{scenes.address}: {scenes.shape[0]} x {scenes.shape[1]} pixels, {scenes.shape[2]} bands",
        answer=(answer(found),),
        verdicts=tuple(_verdicts(found)),
        warnings=tuple(_warnings(found)),
        sections=tuple(_sections(found, facts)),
    )


def answer(found: Segmentation) -> str:
    """Return one sentence: how many clusters, of what, and how far they agree with k-means on unit-length pixels."""
    request, middle = found.request, found.medians()
    total = found.masked[1] - found.masked[0]
    where = "of one scene" if request.scenes.single else f"of {len(request.scenes.roles)} lesions"
    return (
        f"{total} pixels {where} were divided into {request.count} clusters by {found.coding.latent} latent numbers each; "
        f"the adjusted Rand index with k-means on pixels of unit length is {number(found.rand(LATENT, 'k-means, L2'), 2)}. "
        f"The autoencoder rebuilds pixels within {number(middle.get('angle', np.nan), 4)} rad and "
        f"{number(middle.get('rmse', np.nan), 4)} (root mean square{', medians over lesions' * (not request.scenes.single)})"
        f".{_known(found)}"
    )


def _known(found: Segmentation) -> str:
    if not found.agreements:
        return ""
    ours, kmeans = (found.agreements[name] for name in (LATENT, "k-means, L2"))
    return (
        f" They give {100 * ours.accuracy:.1f} % of the pixels their known class (adjusted Rand index {number(ours.ari)}); "
        f"k-means on pixels of unit length gives it to {100 * kmeans.accuracy:.1f} % ({number(kmeans.ari)})."
    )


def csv_files(found: Segmentation) -> dict[str, str]:
    """Return the tables as CSV by file name."""
    scenes, count = found.request.scenes, found.request.count
    kinds = {"mean": found.means, "spread": found.spreads, "decoded": found.decoded}
    files = {
        CLUSTERS: csv_text(
            ("nm" if scenes.measured else "band", *(f"{kind}_{k}" for k in range(count) for kind in kinds)),
            (
                (nm, *(float(values[k, b]) for k in range(count) for values in kinds.values()))
                for b, nm in enumerate(scenes.bands)
            ),
        ),
        SCENES: csv_text(
            ("name", "diagnosis", "role", "masked_pixels", "rmse", "angle_rad", *(f"share_{k}" for k in range(count)))
            + tuple(f"dice: {way}" for way in MASKS) * found.request.as_masks,
            (
                (one.name, one.diagnosis, one.role, one.masked, one.rmse, one.angle, *map(float, one.shares))
                + tuple(one.dice.get(way) for way in MASKS) * found.request.as_masks
                for one in found.scenes
            ),
        ),
        AGREEMENT: csv_text(
            ("method", *found.methods),
            ((one, *(found.rand(one, other) for other in found.methods)) for one in found.methods),
        ),
    }
    return files | loss_file(found.coding)


def loss_file(coding: Coding) -> dict[str, str]:
    """Return the scores of every validation as CSV by file name; nothing for a network that was trained before."""
    if not coding.curves:
        return {}
    columns = sorted({name for _, scores in coding.curves for name in scores})
    rows = ((step, *(scores.get(name) for name in columns)) for step, scores in coding.curves)
    return {LOSSES: csv_text(("updates", *columns), rows)}


def _verdicts(found: Segmentation) -> Iterator[str]:
    if found.request.as_masks and not found.scored:
        none = {way: sum(way in one.unmasked for one in found.scenes) for way in MASKS}
        told = ", ".join(f"{way} {count}" for way, count in none.items())
        yield f"Lesion masks were made and not scored, because none is drawn; lesions without a mask: {told}."
    if found.scored:
        means = {way: float(found.dices(way).mean()) for way in MASKS}
        best = max(means, key=lambda way: means[way])
        told = ", ".join(f"{way} {number(value, 2)}" for way, value in means.items())
        yield f"Lesion masks, mean Dice with the drawn ones: {told}. The best is: {best}."
        held = [one for one in found.scenes if one.dice and one.role == "validation"]
        if held:
            own = np.mean([one.dice[best] or 0.0 for one in held])
            yield f"On the {len(held)} lesions of validation alone, {best} has {number(float(own), 2)}."
    if found.agreements:
        told = ", ".join(f"{name} {number(each.accuracy, 3)}" for name, each in found.agreements.items())
        yield f"Accuracy against the reference: {told}."


def _warnings(found: Segmentation) -> Iterator[str]:
    masked, total = found.masked
    if masked:
        yield f"{masked} of {total} pixels have NaN or infinite values: they have no cluster (label −1) and count nowhere."
    for name, settled in found.settled.items():
        if not settled:
            yield f"{name}: the fit did not come to rest; another --seed may give other clusters."
    rare = [k for k, size in enumerate(found.sizes) if size < RARE * found.sizes.sum()]
    if rare and found.request.count > FEWEST:
        yield f"Clusters {', '.join(map(str, rare))} hold less than {100 * RARE:g} % of the pixels: fewer clusters may do."
    yield from network_warnings(found.coding, found.request.scenes.shape[2])
    if not found.request.scenes.measured:
        yield (
            "Nothing says the wavelengths of the bands, so they are numbered and the picture has false colours. For another "
            "cube with wavelengths this network does not serve (--wavelengths A:B:N says them)."
        )


def network_warnings(coding: Coding, bands: int) -> Iterator[str]:
    """Say where the autoencoder of pixels with so many bands has learnt nothing, or compresses nothing."""
    if coding.curves:
        last = coding.curves[-1][1]
        loss, mean = last["held_out_loss"], last["loss_of_mean_spectrum"]
        if not loss < mean:
            yield (
                f"The autoencoder is no better than the mean spectrum (loss on held-out pixels {number(loss, 4)} against "
                f"{number(mean, 4)}): nothing that is said of it counts. Give more --steps, or more pixels."
            )
    if coding.latent >= bands:
        yield f"{coding.latent} latent numbers for {bands} bands compress nothing: --latent may be smaller."


def _sections(found: Segmentation, facts: Mapping[str, str]) -> Iterator[Section]:
    request, single = found.request, found.request.scenes.single
    colours = "the scene as seen" if found.coloured else "the scene in false colours (late, middle and early bands)"
    large = (
        _drawing("labels", partial(figures.labels, found), "The label map; clusters are numbered by their size."),
        _drawing("overlay", partial(figures.overlay, found), f"The clusters over {colours}."),
    )
    files = f"{LABELS}, {TIFF}" + (
        f" and {LABELS_ENVI[0]}" if single else f" ({SCENES} has their order) and {PICTURES}/*.png"
    )
    kind = "ENVI" if request.scenes.place.envi else "TIFF"
    placed = f" The georeference of the source stands in the {kind} file." if request.scenes.place.known else ""
    yield Section(
        "maps",
        "Label maps",
        (f"{files} hold all labels, −1 (in ENVI 0, in pictures black) where a pixel is masked.{placed}",),
        large * single,
    )
    yield Section(
        "methods",
        "Beside k-means and mixtures of the pixels",
        drawings=(
            _drawing(
                "methods",
                partial(figures.methods, found),
                "Each method's clusters have the colours of the latent clusters that they share most pixels with.",
            ),
        ),
        tables=tuple(_agreement(found)),
    )
    yield Section(
        "clusters",
        "Spectra of the clusters",
        drawings=(
            _drawing(
                "clusters",
                partial(figures.clusters, found),
                "Measured: mean and standard deviation of each cluster's pixels. Dashed: what the decoder makes of the mean "
                f"latent vector, at the mean length of the pixels. {CLUSTERS} holds the numbers.",
            ),
        ),
    )
    yield Section(
        "examples",
        "Input against output",
        (f"{CUBE} holds the reconstruction of every pixel{' (also in ENVI format)' * single}, NaN where it is masked.",),
        (
            _drawing(
                "examples", partial(figures.examples, found), "Pixels that the seed chose, at least one of each cluster."
            ),
        ),
    )
    yield training_section(found.coding)
    if request.as_masks:
        yield _mask_section(found)
    made = (
        f"{found.drawn[0]} pixels were drawn, {found.drawn[1]} of them held out from the autoencoder "
        f"({'those of validation' if request.scenes.folded else 'a tenth of the scene, by blocks'}); the mixture "
        f"(one covariance matrix for all clusters, ridge {RIDGE}) was fitted to {found.fitted} pixels.",
        f"--clusters {request.count}, --weight {request.weight:g}, --seed {request.seed}; latent vectors are in the "
        "metric of their decoder.",
        f"Autoencoder: {found.coding.made}.",
    )
    yield Section("made", "How it was made", items=(*made, *(f"{name}: {value}" for name, value in facts.items())))


def training_section(coding: Coding) -> Section:
    """Return the section on the training of the autoencoder."""
    if not coding.curves:
        return Section("training", "The autoencoder", (f"It was not trained here: {coding.made}.",))
    last = coding.curves[-1][1]
    return Section(
        "training",
        "Training of the autoencoder",
        (
            f"After the last update the loss on held-out pixels was {number(last['held_out_loss'], 4)}; that of the mean "
            f"spectrum, which a network must beat, is {number(last['loss_of_mean_spectrum'], 4)}. {CHECKPOINT} is the "
            "network: --run takes it for other cubes of the same bands.",
        ),
        (_drawing("losses", partial(loss_curves, coding), "All terms of the loss, linear and logarithmic."),),
    )


def _agreement(found: Segmentation) -> Iterator[Table]:
    rows = tuple(
        Row((Cell(one), *(Cell(number(found.rand(one, other), 2)) for other in found.methods))) for one in found.methods
    )
    columns = (Column("", words=True), *(Column(name) for name in found.methods))
    yield Table("Adjusted Rand index between the methods: 1 for equal clusters, 0 for chance.", columns, rows)
    if found.agreements:
        scores = tuple(
            Row((Cell(name), *(Cell(number(value, 3)) for value in (each.accuracy, each.nmi, each.ari))))
            for name, each in found.agreements.items()
        )
        counted = next(iter(found.agreements.values())).counted
        head = (Column("method", words=True), Column("accuracy"), Column("NMI"), Column("ARI"))
        yield Table(f"Against the reference, {counted} pixels; clusters are matched with classes one to one.", head, scores)


def _mask_section(found: Segmentation) -> Section:
    how = (
        "A lesion is all clusters with a larger share of the frame's centre than of its border, its largest part with "
        "holes filled. Otsu's threshold divides the mean of all bands and takes the dark side, likewise. "
        f"{MASK_FOLDER}/<way>/*.png hold all masks, white on the lesion; a lesion without a file has none."
    )
    order = f"Best, middle and worst by the Dice of {ALONE}." if found.scored else "No mask is drawn, so none is scored."
    seen = _drawing("masks", partial(figures.masks, found), f"White: drawn by hand. Blue: made. {order}")
    title = "Lesion masks without a drawn one"
    if not found.scored:
        return Section("masks", title, (how,), (seen,))
    rows = []
    for way in MASKS:
        values = found.dices(way)
        none = sum(one.dice[way] is None for one in found.scenes if one.dice)
        low, middle, high = np.percentile(values, (25, 50, 75))
        cells = (Cell(number(float(value), 3)) for value in (values.mean(), low, middle, high))
        better = Cell("" if way == OTSU else str(int((values > found.dices(OTSU)).sum())))
        rows.append(Row((Cell(way), *cells, better, Cell(str(none)), Cell(str(len(values))))))
    titles = ("mean", "lower quartile", "median", "upper quartile", "better than Otsu", "none found", "lesions")
    return Section(
        "masks",
        title,
        (how,),
        (_drawing("dice", partial(figures.dices, found), "Dice of every lesion; triangles are means."), seen),
        (
            Table(
                f"Dice with the drawn masks; where none was found it is 0. {SCENES} holds every lesion.",
                (Column("mask", words=True), *map(Column, titles)),
                tuple(rows),
            ),
        ),
    )


def _drawing(name: str, draw: Callable[[], Figure], caption: str) -> Drawing:
    return Drawing(name, draw, caption, caption)
