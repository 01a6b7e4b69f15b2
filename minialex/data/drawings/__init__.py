"""Drawings of cats and dogs, made by the program itself: images to train on without a download."""

from minialex.data.drawings.scenes import Drawings

__all__ = ["Drawings"]
