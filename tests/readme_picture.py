"""Draw the README's picture from the best trial of the default sweep: `make sweep-shsgan && make picture`."""

import sys
from pathlib import Path

import numpy as np
import optuna
from matplotlib.image import imread

from hyperderm import registry
from hyperderm.studies.search import sweep_name
from hyperderm.tracking.figures import lesion_grid, spectra
from hyperderm.training.run_folder import trial_folder
from hyperderm.training.selection import select
from hyperderm.workflows.find_store import find_store
from hyperderm.workflows.run_tracking import real_set
from hyperderm.workflows.workspace import Workspace

PICTURE = "infra/readme.png"


def main() -> int:
    workspace = Workspace.here()
    experiment = registry.experiment("shsgan", "small")
    store = find_store(workspace, None, None)
    folder = workspace.root / "runs" / sweep_name(experiment, registry.space("shsgan", experiment), store.name)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")
    generated = np.moveaxis(np.load(trial_folder(folder, study.best_trial.number) / "samples.npy"), 1, 3)
    real = real_set(store, select(store, experiment).validation, experiment.data.size)
    title = f"SHS-GAN after {experiment.training.images:,} images on two CPU cores, on the phantom (simulated skin)"
    parts = [lesion_grid(real, generated, title, seed=1, rows=3), spectra(real, generated, "Mean spectra")]
    pages = []
    for number, figure in enumerate(parts):
        figure.savefig(part := Path(folder) / f".readme-{number}.png", format="png", dpi=figure.dpi)
        pages.append(imread(part)[..., :3])
        part.unlink()
    _stack(pages, workspace.root / PICTURE)
    print(f"wrote {PICTURE}: trial {study.best_trial.number}, {study.best_value:.3g}")
    return 0


def _stack(pages: list[np.ndarray], path: Path) -> None:
    from PIL import Image

    width = max(page.shape[1] for page in pages)
    white = [np.pad(page, ((0, 0), (0, width - page.shape[1]), (0, 0)), constant_values=1.0) for page in pages]
    image = Image.fromarray((np.concatenate(white) * 255).round().astype(np.uint8))
    image.quantize(192).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
