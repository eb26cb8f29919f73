"""Benchmarks: each prints ratios measured in one run. `make bench`, `make bench-cold`."""
