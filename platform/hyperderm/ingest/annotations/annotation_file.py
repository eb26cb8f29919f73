"""Lesion masks from annotation tools: a COCO or Label Studio file is read once, its masks are drawn image by image."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations import coco, label_studio, names
from hyperderm.ingest.annotations.region import Annotation, Region
from hyperderm.ingest.formats.scene import SetAside
from hyperderm.ingest.layouts.naming import Names, alike
from hyperderm.strict import json_of

_EXPECTED = (
    "Expected COCO (an object with images and annotations) or Label Studio's export of the format JSON (not JSON-MIN)."
)


@dataclass(frozen=True)
class Annotations:
    """The contents of an annotation file; can be pickled. A mask is drawn only when its image is asked for.

    Attributes:
        file: the name of the file.
        aside: the unusable entries of the file: annotations that belong to no image, labels that are not a diagnosis.
        empty: the images, as the file names them, on which an annotator marked nothing: they show no lesion.
        unmarked: image → why the file has no annotation of it: it was not annotated, or it was skipped.
    """

    file: str
    aside: tuple[SetAside, ...]
    empty: frozenset[str]
    unmarked: Mapping[str, str]
    _stems: dict[str, str] = field(repr=False)
    _regions: dict[str, tuple[Region, ...]] = field(repr=False)

    def marks(self, image: str) -> bool:
        """Return whether anything is marked on an image (named as in the file)."""
        return bool(self._regions.get(image))

    def of(self, image: str) -> list[Annotation]:
        """Draw every mask of one image; return none if the file does not name the image.

        The image may be named as in the file or as a scene is named.

        Raises:
            CubeError: a mask cannot be used, or the name fits several images.
        """
        said = self._said(image)
        return [region.annotation() for region in self._regions.get(said or "", ())]

    def read(self, image: str) -> tuple[list[Annotation], list[SetAside]]:
        """Draw every mask as `of` does, but return an unusable mask with its reason and go on with the others."""
        good, aside = [], []
        said = self._said(image)
        for region in self._regions.get(said or "", ()):
            try:
                good.append(region.annotation())
            except CubeError as error:
                aside.append(SetAside(region.image, str(error)))
        return good, aside

    def match(self, known: Iterable[str]) -> dict[str, str]:
        """Return scene → image (as the file names it) for those `known` scenes that exactly one image matches.

        The match must be unique in both directions: an image that fits two scenes (`1.png` for `DNCube/1` and `MMCube/1`) is
        assigned to neither.
        """
        return {scene: images[0] for scene, images in self._meant(known).items() if len(images) == 1}

    def unmatched(self, known: Iterable[str]) -> list[SetAside]:
        """Return every image of the file that `match` assigns to no scene, with the reason."""
        aside = []
        for said, found in self._candidates(known).items():
            if not found:
                aside.append(SetAside(said, f"{self.file} names it, but there is no such image"))
            elif len(found) > 1:
                aside.append(SetAside(said, f"{self.file} names it, which may be any of {', '.join(found)}"))
        for scene, images in self._meant(known).items():
            if len(images) > 1:
                reason = f"{self.file} means {scene} by each of {', '.join(images)}"
                aside += [SetAside(said, reason) for said in images]
        return aside

    def torn(self, known: Iterable[str]) -> set[str]:
        """Return the scenes that the file names ambiguously, so that `match` cannot assign an image to them."""
        twice = {scene for scene, images in self._meant(known).items() if len(images) > 1}
        return twice.union(*(found for found in self._candidates(known).values() if len(found) > 1))

    def _candidates(self, known: Iterable[str]) -> dict[str, list[str]]:
        """Return image → the scenes that it may mean: those with exactly its name, or else those whose path ends in it.

        A shorter path matches a longer path that ends in it, in both directions: `12.png` matches `DNCube/12`, and
        `set/images/a.png` matches `images/a`. Paths with different folders never match, even if the file names are equal.
        """
        index = Names(known, names.bare)
        return {said: index.ending(stem) for said, stem in self._stems.items()}

    def _meant(self, known: Iterable[str]) -> dict[str, list[str]]:
        """Return scene → the images that match this scene and no other."""
        meant: dict[str, list[str]] = {}
        for said, found in self._candidates(known).items():
            if len(found) == 1:
                meant.setdefault(found[0], []).append(said)
        return meant

    def _said(self, image: str) -> str | None:
        if image in self._stems:
            return image
        stem = names.bare(image.replace("\\", "/"))
        index: dict[str, list[str]] = {}
        for said, path in self._stems.items():
            index.setdefault(path.rpartition("/")[2], []).append(said)
        near = index.get(stem.rpartition("/")[2], [])
        exact = [said for said in near if self._stems[said] == stem]
        found = exact or [said for said in near if alike(stem, self._stems[said])]
        if len(found) > 1:
            raise CubeError(f"{self.file}: {image!r} may be any of {', '.join(found)}", "Give each its whole path.")
        return found[0] if found else None


def read_annotations(path: Path) -> Annotations:
    """Read a COCO file or Label Studio's JSON export; the content tells which of the two it is.

    The whole text of the file is kept in memory; a mask is drawn when its image is asked for.

    Raises:
        CubeError: the file is unreadable, damaged or in neither format, a path leads out of the folder, or a label is almost
            a diagnosis but not one.
    """
    try:
        document = json_of(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CubeError(f"{path} cannot be read: {error.strerror or error}", "Name a file of annotations.") from error
    except ValueError as error:
        raise CubeError(f"{path.name} is no JSON ({error})", _EXPECTED) from error
    if coco.is_document(document):
        found = coco.read(document, path.name)
    elif label_studio.is_document(document):
        found = label_studio.read(document, path.name)
    else:
        raise CubeError(f"{path.name} is JSON, but no annotations", _EXPECTED)
    by_image: dict[str, list[Region]] = {}
    for region in found.regions:
        by_image.setdefault(region.image, []).append(region)
    stems = {said: names.bare(name) for said, name in found.paths.items()}
    by = {image: tuple(regions) for image, regions in by_image.items()}
    return Annotations(path.name, tuple(found.aside), frozenset(found.empty), found.unmarked, stems, by)
