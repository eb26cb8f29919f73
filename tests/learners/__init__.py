"""Tests of hyperderm.learners."""
