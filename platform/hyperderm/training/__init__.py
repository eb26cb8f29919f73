"""The loop, the feed, the context seam and checkpoints."""
