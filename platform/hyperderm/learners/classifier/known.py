"""Names of the classifier networks. Free of torch, so that a wrong name costs milliseconds."""

ARCHITECTURES = (
    "small_cnn",
    "densenet121",
    "densenet201",
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "efficientnet_b3",
    "efficientnet_lite0",
)
"""`small_cnn` is ours; the others are timm's."""
OWN = "small_cnn"
TIMM_SIZE = 32
"""Pixels that timm's networks need: they halve five times."""
