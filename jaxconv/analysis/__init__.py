"""What a convolution, or any JAX function, does: its weights, its matrix, what its outputs see.

| | |
|---|---|
| `dense` | from a dense layer to a kernel, step by step (a module) |
| `as_matrix` | a convolution as a matrix |
| `reach` | which inputs an output can depend on |
| `influence` | which inputs an output depends on at given values, and how strongly |
| `equivariance_error`, `equivariance_map` | how far f(shifted x) is from shifted f(x) |
| `receptive_field` | what the outputs of a chain of layers see |
| `parameter_counts` | weights of a dense, a shared and a local layer |
"""

from jaxconv.analysis import dense
from jaxconv.analysis._counts import ParameterCounts, parameter_counts
from jaxconv.analysis._equivariance import equivariance_error, equivariance_map
from jaxconv.analysis._influence import Influence, influence
from jaxconv.analysis._matrix import as_matrix
from jaxconv.analysis._reach import reach
from jaxconv.analysis._receptive import Layer, ReceptiveField, receptive_field

__all__ = [
    "Influence",
    "Layer",
    "ParameterCounts",
    "ReceptiveField",
    "as_matrix",
    "dense",
    "equivariance_error",
    "equivariance_map",
    "influence",
    "parameter_counts",
    "reach",
    "receptive_field",
]
