"""Tests of hyperderm.models."""
