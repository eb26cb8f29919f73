"""Write the phantom as a store."""

from rich.console import Console

from hyperderm.store.manifest import Manifest


def write_phantom(console: Console, store: str, count: int, size: int, seed: int, folds: int) -> Manifest:
    """Write a phantom store with a progress bar on `console`."""
    from hyperderm.phantom.rendering import PHANTOM_VERSION
    from hyperderm.phantom.rendering import phantom as lesions
    from hyperderm.reports.progress import counting
    from hyperderm.store.writer import write_store

    source = {"verb": "phantom", "version": PHANTOM_VERSION, "count": count, "size": size, "seed": seed}
    with counting(console, "drawing phantom lesions") as bar:
        rows = bar.track((one.lesion for one in lesions(count, size, seed)), total=count)
        return write_store(store, rows, fold_count=folds, seed=seed, source=source)
