"""Are synthetic cubes copies of the photographs that their generator learnt beside its cubes?

A photograph has three colours, so both are compared in them: the pseudo-RGB of the cubes, and the photographs matched to
that of train, as the generator was shown them. All else is the audit of `metrics.memorisation`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperderm.cubes.pseudo_rgb import pseudo_rgb_matrix
from hyperderm.errors import MachineTrouble, StoreError
from hyperderm.learners.data import CubeSet
from hyperderm.learners.sources import matched_by_diagnosis, rgb_levels
from hyperderm.metrics import memorisation
from hyperderm.metrics.copy_search import Matches
from hyperderm.metrics.memorisation import Auditor, Reference
from hyperderm.store.reader import Store
from hyperderm.tags import PHOTOGRAPHS_TAG
from hyperderm.training.data import cube_set
from hyperderm.training.inputs import experiment_of
from hyperderm.training.selection import extra_store, select

PHOTOGRAPHS, UNJUDGED = "photographs", "photographs_unjudged"
"""Keys of the audit of a set: the audit against photographs, or why there is none."""
FEWEST = 2
RESTORE = "Bring the photographs back to where they were, and make the set again."


class PhotographAudit:
    """Audits a synthetic set against photographs, chunk by chunk.

    Args:
        photographs: linear colours (n, 3, S, S), stored as B, G, R, of at least two photographs.
        train: the cubes of train, to whose pseudo-RGB they are matched.
        held_out: cubes of validation; they only check the rate of false alarms.
        wavelengths: of the bands, (B,), in nm.
    """

    def __init__(self, photographs: CubeSet, train: CubeSet, held_out: CubeSet, wavelengths: tuple[float, ...]) -> None:
        self._matrix = pseudo_rgb_matrix(wavelengths)
        levels = matched_by_diagnosis(photographs, train, self._matrix)
        self._auditor = Auditor(Reference(levels, self._seen(held_out.reflectance), photographs.lesion_ids))

    def match(self, cubes: NDArray[np.float32]) -> Matches:
        """Return the best match of each cube (n, B, S, S) among the photographs."""
        return self._auditor.match(self._seen(torch.from_numpy(cubes)))

    def is_copy(self, found: Matches) -> bool:
        """Return whether the only cube that was matched is a copy."""
        return bool(found.similarity[0] >= self._auditor.reference.law.threshold)

    def keep(self, found: Matches) -> None:
        """Add the cubes that have these matches to the audit."""
        self._auditor.keep(found)

    def result(self) -> dict[str, Any]:
        """Return a `memorisation.Audit` of JSON values, in which photographs stand for train lesions."""
        return self._auditor.result().to_dict()

    def _seen(self, cubes: Tensor) -> Tensor:
        return torch.from_numpy(rgb_levels(cubes, self._matrix)).float()


def audit_of(state: Mapping[str, Any], store: Store, train: CubeSet, held_out: CubeSet) -> PhotographAudit | str:
    """Return the audit against the photographs that a checkpoint's generator learnt, or why there is none.

    The reason is "" if it learnt none; otherwise it ends with a full stop, after the remedy if there is one.

    Args:
        state: content of the checkpoint.
        store: the store on which it was trained.
        train: its train cubes.
        held_out: cubes that it has not seen.

    Raises:
        MachineTrouble: the photographs' server does not answer.
    """
    learnt = state["provenance"].get(PHOTOGRAPHS_TAG)
    if not learnt:
        return ""
    experiment = experiment_of(state)
    try:
        rgb = extra_store(experiment)
    except MachineTrouble:  # it may be there in a minute
        raise
    except StoreError as error:  # moved or removed: the set can be made without them
        return f"{error.what}. {RESTORE}"
    if rgb.manifest.fingerprint != learnt:
        return f"{rgb.location.uri} is store {rgb.manifest.fingerprint[:12]} now, and was {learnt[:12]}. {RESTORE}"
    ids = select(store, experiment).extra
    if len(ids) < FEWEST:
        return f"it learnt {len(ids)}, and similarity is learnt from {FEWEST} or more."
    photographs = cube_set(rgb.read(ids), experiment.data.size)
    return PhotographAudit(photographs, train, held_out, tuple(store.manifest.wavelengths_nm))


def describe(audit: Mapping[str, Any]) -> list[str]:
    """Return a sentence about copies of photographs from the audit of a set, as a manifest keeps it; or none."""
    if PHOTOGRAPHS in audit:
        said = memorisation.describe(audit[PHOTOGRAPHS], "photographs").replace(
            " train cubes changed", " photographs changed"
        )
        return [f"Audit against photographs: {said}."]
    if UNJUDGED in audit:
        return [f"Copies of the photographs that its generator learnt were not looked for, because {audit[UNJUDGED]}"]
    return []
