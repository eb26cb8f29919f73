"""The readers: each file reads one source format and turns a folder into lesions and a list of unused files."""
