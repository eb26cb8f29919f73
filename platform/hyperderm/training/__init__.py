"""Training: the loop, the feed of cubes, the context that describes the machine, and checkpoints."""
