"""Write the phantom as a store."""

from rich.console import Console

from hyperderm.reports.progress import counting
from hyperderm.reports.store_description import describe
from hyperderm.store.manifest import Manifest


def phantom(store: str, *, count: int = 330, size: int = 64, seed: int = 0, folds: int = 5) -> Manifest:
    """Write a store of phantom lesions (simulated skin), and return its manifest.

    Args:
        store: the address of the new store; nothing may be there yet.
        count: the number of lesions.
        size: the side of each lesion in pixels.
        seed: the seed of the lesions and of the folds.
        folds: the number of folds, 3 or more; 0 for none.

    Raises:
        HyperdermError: an error that the user can correct. Nothing is left behind.
    """
    from hyperderm.phantom.rendering import PHANTOM_VERSION, plan
    from hyperderm.phantom.rendering import phantom as lesions
    from hyperderm.store.folds import assign_folds
    from hyperderm.store.s3 import vacant
    from hyperderm.store.writer import write_store

    vacant(store)
    diagnoses = plan(count, seed)
    if folds:  # proven before the first lesion is drawn; each lesion is a group of its own
        assign_folds([str(index) for index in range(count)], diagnoses, folds, seed)
    console = Console(emoji=False)
    source = {"verb": "phantom", "version": PHANTOM_VERSION, "count": count, "size": size, "seed": seed}
    with counting(console, "drawing phantom lesions") as bar:
        rows = bar.track((one.lesion for one in lesions(count, size, seed)), total=count)
        manifest = write_store(store, rows, fold_count=folds, seed=seed, source=source)
    describe(console, store, manifest)
    return manifest
