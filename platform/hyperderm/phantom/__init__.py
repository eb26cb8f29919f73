"""The phantom: simulated skin lesions with their ground truth, calibrated to published statistics."""
