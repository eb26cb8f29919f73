"""Tests of what the package cli promises."""
