"""The report of an evaluation of synthetic sets: words, tables, figures."""
