"""Compare the unmixing of a scene with what its pixels are known to be mixed of."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hyperderm.errors import ConfigError
from hyperderm.ingest.formats.known_mixture import KnownMixture, read_known_mixture
from hyperderm.store.reader import Store
from hyperderm.unmixing.pixels import Spectra, unit_length
from hyperderm.unmixing.scoring import Score, score, true_endmembers


@dataclass(frozen=True, eq=False)
class Compared:
    """An unmixing beside the truth.

    Attributes:
        names: R names of the known materials.
        endmembers: (R, B) the known endmembers in the units that were unmixed.
        abundances: (H, W, R) the known abundances.
        found: how far the unmixing is from them.
        true: how far the abundances of the known endmembers themselves are, by fully constrained least squares: what noise,
            scaling and nonlinear mixing cost.
    """

    names: tuple[str, ...]
    endmembers: Spectra
    abundances: NDArray[np.float64]
    found: Score
    true: Score

    def numbers(self) -> dict[str, float]:
        """Return the scores by the names of metrics."""
        found = {}
        for prefix, each in (("known/", self.found), ("known/true_endmembers/", self.true)):
            found[f"{prefix}abundance_rmse"] = each.abundance_rmse
            found[f"{prefix}mean_abundance_rmse"] = each.mean_abundance_error
        return found | {"known/mean_angle": self.found.mean_angle}


def known_of(path: Path, store: Store, count: int | str | None) -> KnownMixture:
    """Read what the pixels of a store's only scene are known to be mixed of.

    Args:
        path: the file (`ingest.formats.known_mixture`).
        store: the store, of one scene.
        count: R as the user asked for it; None: that of the file.

    Raises:
        ConfigError: the store holds several scenes, the file does not fit it, or another number of endmembers is asked for.
    """
    lesions, (height, width, bands) = len(store.index()), store.manifest.shape
    if lesions != 1:
        raise ConfigError(f"--reference for a store of {lesions} scenes", "Give it with a store of a single scene.")
    known = read_known_mixture(path, height, width)
    if known.endmembers is None:
        raise ConfigError(f"--reference {path} holds no endmembers", "Name the array M or endmembers, (bands, R).")
    if known.endmembers.shape[1] != bands:
        raise ConfigError(
            f"--reference {path}: endmembers of {known.endmembers.shape[1]} bands, the store has {bands}",
            "Give the reference of this scene, with the bands of the store.",
        )
    if count not in (None, len(known.endmembers)):
        raise ConfigError(
            f"--endmembers {count} with a reference of {len(known.endmembers)}: endmembers are matched one to one",
            f"Give --endmembers {len(known.endmembers)}, or leave it out.",
        )
    return known


def compared(
    known: KnownMixture, rows: Spectra, endmembers: Spectra, abundances: NDArray[np.float64], unit: bool
) -> Compared:
    """Compare endmembers (R, B) and abundances (N, R; NaN where masked) of the pixels (N, B) of a scene with the truth."""
    if known.endmembers is None:
        raise ValueError("a mixture without endmembers")
    reference = unit_length(known.endmembers) if unit else known.endmembers
    shares = known.abundances.reshape(len(rows), -1)
    return Compared(
        known.names,
        reference,
        known.abundances,
        score(endmembers, abundances, reference, shares),
        true_endmembers(rows, reference, shares),
    )
