"""Tests of what a user starts."""
