"""A scene whose mixture is known, from a folder as benchmark scenes of unmixing come: `Samson.mat` and `end_Samson.mat`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import CubeError
from hyperderm.ingest.formats.known_mixture import KnownMixture, read_known_mixture
from hyperderm.ingest.formats.scene import ReadOptions
from hyperderm.ingest.formats.scene_files import find_scenes, read_pixels


@dataclass(frozen=True, eq=False)
class KnownScene:
    """A cube (H, W, B) float32 with the name and the path of its file and what its pixels are mixed of."""

    name: str
    path: Path
    cube: NDArray[np.float32]
    known: KnownMixture

    @property
    def endmembers(self) -> NDArray[np.float64]:
        """The known endmembers (R, B), in units of their own."""
        assert self.known.endmembers is not None
        return self.known.endmembers

    @property
    def pixels(self) -> NDArray[np.float64]:
        """The pixels (H · W, B), row by row."""
        return self.cube.reshape(-1, self.cube.shape[2]).astype(np.float64)

    @property
    def abundances(self) -> NDArray[np.float64]:
        """The known abundances (H · W, R), row by row."""
        return self.known.abundances.reshape(-1, self.known.abundances.shape[2])


def read_scene(folder: Path) -> KnownScene:
    """Read the one MATLAB file of a folder that is a scene, and the other one, which says its mixture."""
    found, _ = find_scenes(folder)
    for each in found:
        try:
            cube = read_pixels(each, ReadOptions(), folder).reflectance
        except CubeError:  # the file of the mixture
            continue
        (other,) = (path for path in sorted(folder.glob("*.mat")) if path not in each.files)
        return KnownScene(each.name, each.path, cube, read_known_mixture(other, *cube.shape[:2]))
    raise SystemExit(f"{folder} holds no scene")
