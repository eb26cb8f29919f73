"""Tests of hyperderm.training."""
