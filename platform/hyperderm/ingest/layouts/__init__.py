"""Layouts of source folders: they say which files are images, tables, references and masks."""
