"""Whole networks: training steps and inference in Flax, with `accelerate` or not, and in torch.

| | |
|---|---|
| `definitions` | five networks, each written once for every framework |
| `in_flax`, `in_torch` | their layers in linen, NNX and torch, with equal weights |
| `flax_steps`, `torch_steps` | a step as each framework's users write it |
| `steps` | the cases, their float64 values, and every way to run them |
"""
