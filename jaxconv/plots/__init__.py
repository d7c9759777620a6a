"""Figures of kernels, layers, fields and runs of learning, drawn with matplotlib (`cli` extra).

Each function returns one `matplotlib.figure.Figure`, made without pyplot; `figure.savefig(path)`
writes it. Colours are safe for colour-blind eyes: greys for images, purple to orange about zero for
signed values, dark blue to yellow for magnitudes.

| | |
|---|---|
| `learning` | a run of `jaxconv.learn`: before, after, prediction, residual, kernels, loss |
| `restoration` | an image before and after its blur is undone, a line profile, the residual |
| `before_after` | an image, a kernel, the filtered image |
| `kernels`, `feature_maps` | the weights and the channels of a layer |
| `losses` | loss curves |
| `receptive_fields` | the inputs that an output depends on, and how strongly |
| `errors` | where two arrays differ, such as `jaxconv.analysis.equivariance_map` |
| `parameter_counts` | weights of a dense, a shared and a local layer |
"""

from jaxconv.plots._fields import errors, parameter_counts, receptive_fields
from jaxconv.plots._networks import before_after, feature_maps, kernels, losses
from jaxconv.plots._panels import draw_image, draw_kernel, draw_losses, draw_residual
from jaxconv.plots._restoration import restoration
from jaxconv.plots._runs import learning

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
    "restoration",
]
