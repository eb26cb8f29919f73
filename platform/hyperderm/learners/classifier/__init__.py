"""Networks that tell melanoma from other lesions: those of timm, and a small one of this project."""

from hyperderm.learners.classifier.config import ClassifierConfig

__all__ = ["ClassifierConfig"]
