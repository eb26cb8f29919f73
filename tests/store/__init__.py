"""Tests of what the package store promises."""
