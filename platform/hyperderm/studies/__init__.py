"""Ray: cluster, trials and sweeps."""
