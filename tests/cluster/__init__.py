"""Tests that need Ray; it is started once for the session."""
