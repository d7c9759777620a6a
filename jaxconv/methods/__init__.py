"""Ways to compute a convolution, one file a way."""
