"""What is done to synthetic cubes before a classifier is shown them: which are kept, and what of train they are given."""
