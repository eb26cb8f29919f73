"""Tests of hyperderm.metrics."""
