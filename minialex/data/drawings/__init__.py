"""Synthetic images of cats and dogs, drawn by the program: you can train without a download."""

from minialex.data.drawings.scenes import Drawings as Drawings
