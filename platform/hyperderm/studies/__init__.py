"""Studies: single runs, sweeps, ablation grids and synthetic sets."""
