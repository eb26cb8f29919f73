"""Ingest: turn a folder of files into the parts of a store, by formats, layouts, annotations and the pipeline."""
