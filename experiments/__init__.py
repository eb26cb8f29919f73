"""One file an experiment: `experiment(profile)` returns the whole configuration."""
