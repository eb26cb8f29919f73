"""Readers: one file a source format; each turns a folder into lesions and a list of what was set aside."""
