"""Small lesions for store tests: every value tells which lesion it belongs to."""

from collections.abc import Iterator

import numpy as np

from hyperderm.cubes.cube import Cube, Lesion

NM = np.array([465.0, 500.5, 620.0])
KINDS = ("melanoma", "dysplastic_nevus", "nevus")


def lesion(i: int, size: int = 8, **changes: object) -> Lesion:
    rng = np.random.default_rng(i)
    cube = rng.normal(0.5, 0.4, (size, size, len(NM))).astype(np.float32)
    cube[0, 0] = i
    facts = {
        "lesion_id": f"MMCube/{i:04d}_00",
        "image_id": f"MMCube/{i:04d}",
        "group": f"MMCube/{i:04d}",
        "diagnosis": KINDS[i % len(KINDS)],
        "cube": Cube(cube, NM),
        "mask": rng.random((size, size)) > 0.5 if i % 5 else None,
        "origin": {"file": f"{i}.mat", "crop": [0, 0, size, size]},
    }
    return Lesion(**{**facts, **changes})  # type: ignore[arg-type]


def lesions(count: int, size: int = 8) -> Iterator[Lesion]:
    return (lesion(i, size) for i in range(count))
