"""The commands of the program `minialex`: a file each, and main.py, which calls them."""
