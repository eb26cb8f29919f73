"""Lesion masks: from annotation tools, from mask pictures, or found by program."""
