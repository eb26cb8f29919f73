"""From a folder of raw files to a store: what can be used goes in, what cannot is listed with its reason."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

from hyperderm.cubes.cube import HSIDERMOSCOPY_NM, Lesion
from hyperderm.cubes.readers import hsidermoscopy, photographs
from hyperderm.errors import CubeError, nearest
from hyperderm.store.manifest import Manifest, SetAsideFile
from hyperderm.store.writer import write_store

Progress = Callable[[int, int], None]
"""Called with files read and files in all."""
THREADS = 4
READ_AHEAD = 16


@dataclass(frozen=True)
class Layout:
    """A kind of source folder: its reader, and what its stores are.

    Attributes:
        name: as `--layout` and the manifest call it.
        reader: a module of `cubes.readers` with `scan`, `orphans` and `read`.
        kind: of the store.
        wavelengths_nm: where none are given.
    """

    name: str
    reader: Any
    kind: Literal["spectral", "rgb"]
    wavelengths_nm: tuple[float, ...]


LAYOUTS = {
    "hsidermoscopy": Layout("hsidermoscopy", hsidermoscopy, "spectral", HSIDERMOSCOPY_NM),
    "photographs": Layout("photographs", photographs, "rgb", photographs.NOMINAL_NM),
}


def find_layout(root: Path, name: str, wavelengths: Sequence[float] | None = None) -> Layout:
    """Return the layout called `name`; `auto` looks at the folder, and takes what is no photographs for HSIDermoscopy.

    Raises:
        CubeError: an unknown layout, or wavelengths for photographs.
    """
    if name == "auto":
        folders = any((root / "images" / folder).is_dir() for folder in hsidermoscopy.FOLDERS)
        name = "photographs" if not folders and photographs.is_layout(root) else "hsidermoscopy"
    if name not in LAYOUTS:
        raise CubeError(f"--layout {name!r} is unknown", nearest(name, ["auto", *LAYOUTS]))
    if wavelengths and LAYOUTS[name].kind == "rgb":
        raise CubeError("photographs have nominal wavelengths", "Leave --wavelengths out.")
    return LAYOUTS[name]


@dataclass
class Reading:
    """A pass over a source folder; iterate it once.

    Attributes:
        layout: of the folder.
        set_aside: grows while the lesions are iterated.
        lesions: how many were yielded, by diagnosis.
    """

    root: Path
    size: int
    wavelengths_nm: Sequence[float]
    progress: Progress
    layout: Layout = LAYOUTS["hsidermoscopy"]
    set_aside: list[SetAsideFile] = field(default_factory=list)
    lesions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sources: list[Any] = self.layout.reader.scan(self.root)
        self._keep(self.layout.reader.orphans(self.root, self.sources))

    def __iter__(self) -> Iterator[Lesion]:
        """Yield the usable lesions in the order of the files.

        Raises:
            CubeError: not one lesion of the folder can be used.
        """
        found = 0
        for done, (lesions, aside) in enumerate(self._read(), 1):
            self._keep(aside)
            for lesion in lesions:
                found += 1
                self.lesions[str(lesion.diagnosis)] = self.lesions.get(str(lesion.diagnosis), 0) + 1
                yield lesion
            self.progress(done, len(self.sources))
        if not found:
            first = "; ".join(f"{f.file}: {f.reason}" for f in self.set_aside[:3])
            raise CubeError(
                f"none of the {len(self.sources)} files in {self.root} can be used ({first})",
                "Mend the files, or check --wavelengths.",
            )

    def _read(self) -> Iterator[tuple[list[Lesion], list[hsidermoscopy.SetAside]]]:
        """Read in threads, a bounded number of files ahead, results in order."""
        with ThreadPoolExecutor(THREADS) as pool:
            files = iter(self.sources)
            ahead = [pool.submit(self._one, source) for source in islice(files, READ_AHEAD)]
            while ahead:
                result = ahead.pop(0).result()
                ahead += [pool.submit(self._one, source) for source in islice(files, 1)]
                yield result

    def _one(self, source: object) -> tuple[list[Lesion], list[hsidermoscopy.SetAside]]:
        found: tuple[list[Lesion], list[hsidermoscopy.SetAside]] = self.layout.reader.read(
            source, self.root, self.size, self.wavelengths_nm
        )
        return found

    def _keep(self, aside: Sequence[hsidermoscopy.SetAside]) -> None:
        self.set_aside += [SetAsideFile(file=one.file, reason=one.reason) for one in aside]


def ingest(
    source: Path,
    uri: str,
    *,
    size: int,
    wavelengths: Sequence[float] | None,
    folds: int,
    seed: int,
    progress: Progress,
    layout: str = "auto",
) -> Manifest:
    """Read the cubes or photographs at `source` into a store at `uri`.

    Args:
        source: the folder holding `images/` and `masks/`.
        uri: where the store goes; nothing may be there yet.
        size: pixels of the stored crops.
        wavelengths: band centres (nm); None: the 16 of HSIDermoscopy's sensor.
        folds: number of folds, 0 for none; photographs without a table of diagnoses have none.
        seed: of the folds.
        progress: called after every file.
        layout: a name in `LAYOUTS`, or `auto`.

    Raises:
        CubeError: nothing usable; StoreError: the store cannot be made. Nothing is left behind.
    """
    chosen = find_layout(source, layout, wavelengths)
    reading = Reading(source, size, wavelengths or chosen.wavelengths_nm, progress, chosen)
    how = {"verb": "ingest", "layout": chosen.name, "size": size, "files": len(reading.sources)}
    unlabelled = all(getattr(one, "label", "") is None for one in reading.sources)
    return write_store(
        uri,
        reading,
        fold_count=0 if unlabelled else folds,
        seed=seed,
        kind=chosen.kind,
        set_aside=reading.set_aside,
        source=how,
    )


def parse_wavelengths(text: str) -> list[float]:
    """Return the N band centres from A to B nm of "A:B:N", or those listed as "a,b,c".

    Raises:
        CubeError: the text is neither.
    """
    try:
        if ":" in text:
            first, last, count = text.split(":")
            n = int(count)
            step = (float(last) - float(first)) / (n - 1)
            found = [float(first) + i * step for i in range(n)]
        else:
            found = [float(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        raise CubeError(
            f"--wavelengths {text!r} is neither A:B:N nor a list", "Write --wavelengths 465:630:16, or list them: 465,470,…"
        ) from None
    if not found or not 0 < found[0] < math.inf or not all(a < b < math.inf for a, b in pairwise(found)):
        raise CubeError(
            f"--wavelengths {text!r} does not rise from one band to the next", "Give them in nm, rising: 465:630:16"
        )
    return found
