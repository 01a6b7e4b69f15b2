"""minialex -- the real AlexNet in pure NumPy and CuPy, every gradient written by hand."""

from minialex.gradient_check import GradReport, gradcheck

__all__ = ["GradReport", "gradcheck"]
__version__ = "0.2.0"
