"""One file a search space: `space(experiment)` returns Optuna distributions by configuration path; VERSION names them."""
