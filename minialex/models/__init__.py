"""Networks assembled from the layers."""

from minialex.models.alexnet import VARIANTS, AlexNet

__all__ = ["VARIANTS", "AlexNet"]
