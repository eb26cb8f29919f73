"""N-FINDR (Winter, Proc. SPIE 3753, 1999): the pixels that span the simplex of largest volume are the endmembers."""

import numpy as np
from numpy.typing import NDArray

from hyperderm.unmixing.pixels import Spectra, principal

SWEEPS = 100
"""Most passes over the vertices. Scenes need 3 to 10: each replacement makes the volume larger, so none comes back."""


def nfindr(spectra: Spectra, count: int, rng: np.random.Generator, sweeps: int = SWEEPS) -> tuple[Spectra, NDArray[np.intp]]:
    """Return endmembers (R, B), which are pixels as they are, and the indices (R,) of these pixels.

    In R − 1 principal components, starting from random pixels, one vertex after the other is replaced by the pixel that
    makes the volume largest, until no replacement helps. This is a local maximum and depends on the start.

    The volume is a determinant, which is linear in one vertex: the cofactors of that vertex are the normal of the facet
    through the others, so the best pixel is the farthest from that facet. All pixels are compared in one product.

    Args:
        spectra: (n, B) finite pixels that `checked` let pass.
        count: R, the number of endmembers.
        rng: draws the first vertices.
        sweeps: limit of passes over all vertices.
    """
    mean, directions = principal(spectra, count - 1)
    points = np.column_stack([(spectra - mean) @ directions.T, np.ones(len(spectra))])
    found = rng.choice(len(spectra), count, replace=False)
    for _ in range(sweeps):
        before = found.copy()
        for vertex in range(count):
            normal = np.linalg.qr(points[np.delete(found, vertex)].T, mode="complete")[0][:, -1]
            distance = np.abs(points @ normal)
            best = distance.argmax()
            if distance[best] > (1 + 1e-9) * distance[found[vertex]]:
                found[vertex] = best
        if (found == before).all():
            break
    return spectra[found], found


def simplex_volume(vertices: Spectra) -> float:
    """Return the volume of the simplex of vertices (R, R−1) without the factor 1 / (R−1)!: |det [x; 1]|."""
    return float(np.abs(np.linalg.det(np.column_stack([vertices, np.ones(len(vertices))]))))
