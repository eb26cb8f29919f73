"""One file per experiment, each with a function `experiment(profile)` that returns the whole configuration."""
