"""From a folder of files to the parts of a store: formats, layouts, annotations and the pipeline."""
