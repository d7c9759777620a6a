"""Transforms of whole functions: `accelerate`, `explain` and `tune` every convolution in one."""
