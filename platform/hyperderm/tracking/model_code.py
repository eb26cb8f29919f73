"""The code of every registered model: MLflow runs this file where the model is loaded, instead of reading a pickle.

MLflow copies the file into the model's folder, and the package hyperderm beside it. Nothing else imports this module.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from hyperderm.training.served_models import CHECKPOINT, ServedModel, load_served


class HyperdermModel(PythonModel):
    """A generator (`ServedGenerator.predict`) or a classifier (`ServedClassifier.predict`) of hyperderm.

    Attributes:
        served: the model, once its files are known.
    """

    served: ServedModel

    def load_context(self, context: Any) -> None:  # noqa: ANN401 - MLflow publishes no type that its tools accept
        """Load the model from the files in its folder."""
        self.served = load_served(Path(context.artifacts[CHECKPOINT]).parent)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - see above
        """Return the cubes of a request, or the probabilities of cubes, which come as an array.

        The hint is one that MLflow leaves alone: it checks the input by the model's signature.
        """
        return self.served.predict(model_input)


set_model(HyperdermModel())
