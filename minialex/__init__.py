"""minialex -- the real AlexNet in pure NumPy and CuPy, every gradient written by hand."""

__version__ = "0.1.0"
