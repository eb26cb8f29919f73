"""The ablation grid, which is planned first, then run as trials on Ray Tune, and resumed by the fingerprints of its jobs."""
