"""Pictures of what the package computes, as matplotlib Figures that no global state knows.

One call a picture; `figure.savefig(path)` writes it. Colours are safe for colour-blind eyes: greys
for images, purple to orange about zero for signed values, dark blue to yellow for sizes. Needs the
`cli` extra.

| | |
|---|---|
| `learning` | a run: before, after, prediction, residual, kernels, loss |
| `before_after` | an image, a kernel, what comes out |
| `kernels`, `feature_maps` | the weights and the channels of a layer |
| `losses` | loss curves |
| `receptive_fields` | what an output can see, beside how strongly it does |
| `errors` | where two arrays differ, such as `equivariance_map` |
| `parameter_counts` | weights of a dense, a shared and a local layer |
"""

from jaxconv.plots._fields import errors, parameter_counts, receptive_fields
from jaxconv.plots._networks import before_after, feature_maps, kernels, losses
from jaxconv.plots._runs import draw_image, draw_kernel, draw_losses, draw_residual, learning

__all__ = [
    "before_after",
    "draw_image",
    "draw_kernel",
    "draw_losses",
    "draw_residual",
    "errors",
    "feature_maps",
    "kernels",
    "learning",
    "losses",
    "parameter_counts",
    "receptive_fields",
]
