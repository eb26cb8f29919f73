"""Networks that tell melanoma from other lesions: timm's and a small one of ours."""

from hyperderm.learners.classifier.config import ClassifierConfig

__all__ = ["ClassifierConfig"]
