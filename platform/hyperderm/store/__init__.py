"""Stores of many lesions: schema, manifest, folds, writer and reader of a Parquet store."""
