"""The ablation grid: planned first, then run as trials on Ray Tune, resumed by fingerprint."""
