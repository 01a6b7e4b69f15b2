"""Fast forms for the GPU, and what is wrong where there is none."""
