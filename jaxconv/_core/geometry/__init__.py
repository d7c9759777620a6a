"""Sizes, dtypes and index arithmetic of one convolution: what is known before any array is read."""
