"""What one training step means: losses and optimizers around models."""
