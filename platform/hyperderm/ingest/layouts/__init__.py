"""Layouts of source folders: which files are images, tables, references and masks."""
