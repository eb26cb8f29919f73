"""One file a search space: `space(experiment)` returns Optuna distributions keyed by configuration path, `VERSION` names them."""
