"""What to do with a trained network: predict, explain, draw."""
