"""The primitive under every convolution, and the choice of the method that computes it."""
