"""Lesion masks: read from annotation tools or mask pictures, or found by a program."""
