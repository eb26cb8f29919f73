"""The settings of interpolation between train cubes, by its method; raise VERSION with every change of the axes."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hyperderm.config import Experiment

VERSION = 1


def space(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Return configuration path to distribution: the settings that `learner.method` uses.

    - `alpha` from near copies of one cube to near means of two.
    - `neighbours` and `dimensions`: the score rewards real cubes, so it draws a search to few of both, where a cube stays
      that of train; the same holds of small `noise`, few `partners` and little `blur`.
    """
    ways: dict[str, dict[str, BaseDistribution]] = {
        "copies": {"learner.noise": FloatDistribution(1e-3, 0.3, log=True)},
        "average": {"learner.partners": IntDistribution(2, 8), "learner.blur": FloatDistribution(0.0, 3.0)},
        "smote": {
            "learner.dimensions": CategoricalDistribution([4, 8, 16, 32, 64]),
            "learner.neighbours": IntDistribution(1, 10),
        },
    }
    return ways.get(experiment.learner.method, {"learner.alpha": FloatDistribution(0.1, 4.0, log=True)})
