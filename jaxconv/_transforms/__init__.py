"""`accelerate`, `explain` and `tune`: transforms of every convolution inside a function."""
