"""Lesion masks from annotation tools: a COCO or Label Studio file, read once, drawn image by image."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hyperderm.errors import CubeError
from hyperderm.ingest.annotations import coco, label_studio, names
from hyperderm.ingest.annotations.region import LESION, Annotation, Region, diagnosis_of
from hyperderm.ingest.formats.scene import SetAside
from hyperderm.strict import json_of

__all__ = ["LESION", "Annotation", "Annotations", "diagnosis_of", "read_annotations"]

_EXPECTED = (
    "Expected COCO (an object with images and annotations) or Label Studio's export of the format JSON (not JSON-MIN)."
)


@dataclass(frozen=True)
class Annotations:
    """What an annotation file says; can be pickled. Masks stay as they are written until an image is asked for.

    Attributes:
        file: its name.
        tool: COCO or Label Studio.
        aside: what the file itself says cannot be used: annotations of no image, labels that are no diagnosis.
        empty: images, as the file names them, on which someone marked nothing: there is no lesion.
        unmarked: image → why the file knows nothing of it: nobody annotated it, or it was skipped.
    """

    file: str
    tool: str
    aside: tuple[SetAside, ...]
    empty: frozenset[str]
    unmarked: Mapping[str, str]
    _stems: dict[str, str] = field(repr=False)
    _regions: dict[str, tuple[Region, ...]] = field(repr=False)

    @property
    def images(self) -> list[str]:
        """Every image, as the file names it, in the file's order, also those with nothing marked."""
        return list(self._stems)

    def marks(self, image: str) -> bool:
        """Return whether anything is marked on an image, as the file names it."""
        return bool(self._regions.get(image))

    def of(self, image: str) -> list[Annotation]:
        """Draw every mask of one image, named as the file does or as a scene is; none for an image the file does not name.

        Raises:
            CubeError: a mask that cannot be used, or a name that fits several images.
        """
        said = self._said(image)
        return [region.annotation(self._stems[region.image]) for region in self._regions.get(said or "", ())]

    def read(self, image: str) -> tuple[list[Annotation], list[SetAside]]:
        """`of`, but a mask that cannot be used is returned with its reason and the others go on."""
        good, aside = [], []
        said = self._said(image)
        for region in self._regions.get(said or "", ()):
            try:
                good.append(region.annotation(self._stems[region.image]))
            except CubeError as error:
                aside.append(SetAside(region.image, str(error)))
        return good, aside

    def match(self, known: Iterable[str]) -> dict[str, str]:
        """Return scene → image as the file names it, for those of the `known` scenes that exactly one image means.

        Both ways: an image that fits two scenes (`1.png` for `DNCube/1` and `MMCube/1`) is given to neither.
        """
        return {scene: images[0] for scene, images in self._meant(known).items() if len(images) == 1}

    def unmatched(self, known: Iterable[str]) -> list[SetAside]:
        """Return every image of the file that `match` gives to no scene, with the reason."""
        index = names.by_last_part(known)
        aside = []
        for said, stem in self._stems.items():
            found = names.candidates(stem, index)
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
        """Return the scenes that the file names, but so that `match` cannot say by which image."""
        index = names.by_last_part(known)
        several = [names.candidates(stem, index) for stem in self._stems.values()]
        twice = {scene for scene, images in self._meant(known).items() if len(images) > 1}
        return twice.union(*(found for found in several if len(found) > 1))

    def _meant(self, known: Iterable[str]) -> dict[str, list[str]]:
        """Return scene → the images that mean it and no other."""
        index = names.by_last_part(known)
        meant: dict[str, list[str]] = {}
        for said, stem in self._stems.items():
            found = names.candidates(stem, index)
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
        found = exact or [said for said in near if names.alike(stem, self._stems[said])]
        if len(found) > 1:
            raise CubeError(f"{self.file}: {image!r} may be any of {', '.join(found)}", "Give each its whole path.")
        return found[0] if found else None


def read_annotations(path: Path) -> Annotations:
    """Read a COCO file or Label Studio's JSON export, told apart by content.

    The file's text is in memory as a whole; a mask is drawn when its image is asked for.

    Raises:
        CubeError: unreadable, neither of the two, damaged, paths that climb out, labels that are nearly a diagnosis.
    """
    try:
        document = json_of(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CubeError(f"{path} cannot be read: {error.strerror or error}", "Name a file of annotations.") from error
    except ValueError as error:
        raise CubeError(f"{path.name} is no JSON ({error})", _EXPECTED) from error
    if coco.is_document(document):
        tool, found = coco.TOOL, coco.read(document, path.name)
    elif label_studio.is_document(document):
        tool, found = label_studio.TOOL, label_studio.read(document, path.name)
    else:
        raise CubeError(f"{path.name} is JSON, but no annotations", _EXPECTED)
    by_image: dict[str, list[Region]] = {}
    for region in found.regions:
        by_image.setdefault(region.image, []).append(region)
    stems = {said: names.bare(name) for said, name in found.paths.items()}
    by = {image: tuple(regions) for image, regions in by_image.items()}
    return Annotations(path.name, tool, tuple(found.aside), frozenset(found.empty), found.unmarked, stems, by)
