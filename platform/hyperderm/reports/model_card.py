"""The description of a registered model in Markdown: what it is, on what it was trained, its score, how it is loaded."""

from collections.abc import Mapping
from typing import Any

from hyperderm.tags import COMMIT_TAG, FOLD_TAG, MANIFEST_TAG, STORE_TAG
from hyperderm.training.served_models import ServedClassifier, ServedGenerator, ServedModel

LONGEST = 5000
"""The number of characters that MLflow keeps of a description."""


def purpose(model: ServedModel) -> str:
    """Return one line on all versions of a registered model."""
    bands, first, last = len(model.wavelengths_nm), model.wavelengths_nm[0], model.wavelengths_nm[-1]
    cubes = f"hyperspectral cubes of skin lesions ({bands} bands, {first:g} … {last:g} nm)"
    if isinstance(model, ServedClassifier):
        return f"Calibrated probabilities of melanoma of {cubes}; made by hyperderm."
    return f"Synthetic {cubes}; made by hyperderm."


def model_card(model: ServedModel, checkpoint: Mapping[str, Any], sha256: str, said: str, uri: str) -> str:
    """Return the description of one version, at most `LONGEST` characters.

    Args:
        model: the trained learner.
        checkpoint: the content of its checkpoint.
        sha256: the sha256 of the checkpoint's file.
        said: what the run is called.
        uri: the address by which the model is loaded.
    """
    origin, objective = checkpoint["provenance"], model.run.objective
    score = checkpoint.get("metrics", {}).get(objective)
    rows = {
        "run": said,
        "trained on": f"train role of fold {origin.get(FOLD_TAG)} of store {origin.get(STORE_TAG, '')}, manifest "
        f"{str(origin.get(MANIFEST_TAG))[:12]}",
        "diagnoses": ", ".join(model.diagnoses),
        "score": f"{objective} {score:.4g} on the validation role (lower is better)" if score is not None else "not known",
        "images shown": f"{checkpoint.get('images', 0):,}",
        "checkpoint": f"sha256 {sha256}",
        "trained by": f"hyperderm, commit {origin.get(COMMIT_TAG, 'unknown')}",
    }
    table = "\n".join(f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items())
    limits = "\n".join(f"- {each}" for each in _limits(model, str(origin.get(FOLD_TAG))))
    text = f"{_what(model)}\n\n| | |\n|---|---|\n{table}\n\n{_loading(model, uri)}\n\n### Limits\n\n{limits}\n"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]} …"


def _what(model: ServedModel) -> str:
    """The first sentence, without marks: MLflow's list of versions shows its first words as they are written."""
    learner, size = model.run.learner, model.size
    shape = f"{size} x {size} pixels, {len(model.wavelengths_nm)} bands from {model.wavelengths_nm[0]:g} to "
    shape += f"{model.wavelengths_nm[-1]:g} nm, reflectance"
    if isinstance(model, ServedClassifier):
        return (
            f"A melanoma classifier ({learner.kind}: {learner.described('', size)}) of cubes of {shape}. "
            f"It gives calibrated probabilities; a lesion from {model.threshold:.4f} on is called melanoma."
        )
    return f"A generator ({learner.kind}) that makes cubes of {shape}, from {learner.made_from}."


def _loading(model: ServedModel, uri: str) -> str:
    size, bands = model.size, len(model.wavelengths_nm)
    asked = ""
    if isinstance(model, ServedClassifier):
        asked = f"probability = model.predict(cubes)  # cubes: float32 (n, {size}, {size}, {bands}); answer: (n,)"
    if isinstance(model, ServedGenerator):
        rgb = ', "rgb": photographs' if model.from_photographs else ""
        asked = f'cubes = model.predict({{"count": 4, "seed": 0, "diagnosis": "{model.likely}"{rgb}}})\n'
        asked += f"# float32 (4, {size}, {size}, {bands})"
        asked += f"; photographs: (n, {size}, {size}, 3) linear R, G, B" if rgb else ""
    return (
        f'### Load\n\n```python\nimport mlflow\n\nmodel = mlflow.pyfunc.load_model("{uri}")\n{asked}\n```\n\n'
        "The folder of the model holds the code and its `requirements.txt`; hyperderm need not be installed. Nothing in it "
        "is pickled. Where hyperderm is imported already, that code is used."
    )


def _limits(model: ServedModel, fold: str) -> list[str]:
    if isinstance(model, ServedClassifier):
        return [
            "Research only: no medical device, and nobody has tested it on patients.",
            f"Calibration and threshold were fitted on the validation role of fold {fold}; for another camera, clinic or "
            "share of melanomas they must be fitted anew.",
            f"Lesions of fold {fold}'s train and validation role are no test for it.",
        ]
    limits = [
        "Research only: synthetic lesions are no evidence about patients.",
        f"It has seen the train role of fold {fold}: use its cubes to train classifiers of that fold alone.",
        "Its cubes are not compared with training lesions here; `hyperderm generate` does that, and leaves copies out.",
        "The same seed gives the same cubes on processors of one kind; another kind may differ in the last digits.",
    ]
    if "rgb" in model.described:
        limits.append("A photograph gives up to 8 different cubes, one in each orientation.")
    return limits
