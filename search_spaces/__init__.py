"""One file per search space, each with `space(experiment)`, which returns path to Optuna distribution, and its VERSION."""
