"""Conversion of each torch layer to Flax: the class, its arguments and its arrays."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.compat.torch import _activations as activations
from jaxconv.compat.torch import _spatial_layers as spatial
from jaxconv.compat.torch._layer_specs import LayerContext, LayerSpec, Layout

Converted = tuple[LayerSpec, Layout]
Arrays = Mapping[str, np.ndarray]  # the module's own parameters and buffers, by torch's names


def _kernel(weight: np.ndarray) -> np.ndarray:
    """(a, b, *kernel) -> (*kernel, b, a), for all convolutions and for Linear, of rank zero."""
    return np.moveaxis(weight, (0, 1), (-1, -2)).copy()


def _convolution(module: Any, arrays: Arrays, context: LayerContext, rank: int) -> Converted:
    dilation, kernel = module.dilation, module.kernel_size
    pads = module.padding
    if pads == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = tuple((total // 2, total - total // 2) for total in totals)
    elif pads == "valid":
        pads = ((0, 0),) * rank
    else:
        pads = tuple((p, p) for p in spatial.per_dimension(pads, rank))
    arguments = {
        "kernel_size": kernel,
        "strides": module.stride,
        "padding": pads,
        "kernel_dilation": dilation,
        "feature_group_count": module.groups,
        "padding_mode": module.padding_mode,
    }
    return _dense("Conv", module, arrays, arguments), context.image(rank)


def _transposed(module: Any, arrays: Arrays, context: LayerContext, rank: int) -> Converted:
    # output_padding reduces the cropping after, so it may also exceed the stride
    sides = zip(module.padding, module.output_padding, strict=True)
    arguments = {
        "kernel_size": module.kernel_size,
        "strides": module.stride,
        "padding": tuple((p, p - more) for p, more in sides),
        "kernel_dilation": module.dilation,
        "feature_group_count": module.groups,
        "transpose_kernel": True,
        "use_consistent_padding": True,
    }
    return _dense("ConvTranspose", module, arrays, arguments), context.image(rank)


def _dense(kind: str, module: Any, arrays: Arrays, arguments: dict[str, Any]) -> LayerSpec:
    """Return the spec of a layer with a kernel."""
    weight = arrays["weight"]
    convolves = kind != "Dense"
    inputs = module.in_channels if convolves else module.in_features
    features = module.out_channels if convolves else module.out_features
    return LayerSpec(
        kind,
        {**arguments, "use_bias": "bias" in arrays, "param_dtype": weight.dtype},
        linen={"features": features},
        nnx={"in_features": inputs, "out_features": features},
        params=_rename(arrays, {"bias": "bias"}) | {"kernel": _kernel(weight)},
    )


def _linear(module: Any, arrays: Arrays, context: LayerContext) -> Converted:
    layout, dimensions = context.features()
    spec = _dense("Dense", module, arrays, {})
    return _with_dimensions(spec, dimensions), layout


def _embedding(module: Any, arrays: Arrays, context: LayerContext) -> Converted:
    if context.layout not in (None, "features", "flat"):
        raise context.error("takes indices, but is not the first layer")
    if module.max_norm is not None or module.scale_grad_by_freq:
        raise context.error("has max_norm or scale_grad_by_freq, which no Flax layer has")
    table = arrays["weight"]
    arguments = {"num_embeddings": len(table), "features": table.shape[1]}
    arguments["param_dtype"] = table.dtype
    return LayerSpec("Embed", arguments, params={"embedding": table}), "features"


def _batch_norm(module: Any, arrays: Arrays, context: LayerContext, rank: int) -> Converted:
    if rank == 1 and context.layout != 1:
        if isinstance(context.layout, int):
            context.image(1)
        layout, dimensions = context.channels()
    else:
        layout, dimensions = context.image(rank), None
    if "running_mean" not in arrays:
        function = functools.partial(_normalised_over_batch, epsilon=module.eps)
        return _with_dimensions(_function(function, arrays), dimensions), layout
    if module.momentum is None:
        raise context.error(
            "has momentum=None (a mean over all batches), which Flax does not support; set a number"
        )
    arguments = {**_norm(module, arrays), "momentum": 1 - module.momentum}
    spec = LayerSpec(
        "BatchNorm",
        {**arguments, "use_running_average": True},
        nnx={"num_features": module.num_features},
        params=_rename(arrays, _SCALE_AND_BIAS),
        stats=_rename(arrays, {"running_mean": "mean", "running_var": "var"}),
    )
    return _with_dimensions(spec, dimensions), layout


def _group_norm(module: Any, arrays: Arrays, context: LayerContext) -> Converted:
    layout, dimensions = context.channels()
    spec = LayerSpec(
        "GroupNorm",
        {**_norm(module, arrays), "num_groups": module.num_groups},
        nnx={"num_features": module.num_channels},
        params=_rename(arrays, _SCALE_AND_BIAS),
    )
    return _with_dimensions(spec, dimensions), layout


def _instance_norm(module: Any, arrays: Arrays, context: LayerContext, rank: int) -> Converted:
    if "running_mean" in arrays:
        raise context.error(
            "has running statistics, which Flax's InstanceNorm does not have; set "
            "track_running_stats=False, or for evaluation use a BatchNorm with its statistics"
        )
    spec = LayerSpec(
        "InstanceNorm",
        _norm(module, arrays),
        nnx={"num_features": module.num_features},
        params=_rename(arrays, _SCALE_AND_BIAS),
        # an unbatched image, which torch accepts too, would be normalised over other axes
        dimensions=rank + 2,
    )
    return spec, context.image(rank)


def _layer_norm(module: Any, arrays: Arrays, context: LayerContext) -> Converted:
    shape = module.normalized_shape
    rank = len(shape) - 1
    if rank and context.layout in (None, "channels", rank):
        function = functools.partial(_normalised_image, rank=rank, epsilon=module.eps)
        return _function(function, arrays), context.image(rank)
    layout, dimensions = context.features()
    if rank:
        function = functools.partial(_normalised_last, count=rank + 1, epsilon=module.eps)
        return _with_dimensions(_function(function, arrays), dimensions), layout
    spec = LayerSpec(
        "LayerNorm",
        _norm(module, arrays),
        nnx={"num_features": shape[0]},
        params=_rename(arrays, _SCALE_AND_BIAS),
    )
    return _with_dimensions(spec, dimensions), layout


def _rms_norm(module: Any, arrays: Arrays, context: LayerContext) -> Converted:
    if len(module.normalized_shape) > 1 or "weight" not in arrays or module.eps is None:
        raise context.error(
            "can be converted only with one normalised dimension, a weight and an explicit eps"
        )
    layout, dimensions = context.features()
    arguments = {"epsilon": module.eps, "param_dtype": arrays["weight"].dtype}
    spec = LayerSpec(
        "RMSNorm",
        {**arguments, "use_fast_variance": False},
        nnx={"num_features": module.normalized_shape[0]},
        params=_rename(arrays, _SCALE_AND_BIAS),
    )
    return _with_dimensions(spec, dimensions), layout


def _prelu(module: Any, arrays: Arrays, context: LayerContext) -> Converted:
    layout, dimensions = context.channels() if module.num_parameters > 1 else (context.layout, None)
    spec = LayerSpec(function=_leaky, params={"negative_slope": arrays["weight"]})
    return _with_dimensions(spec, dimensions), layout


def _dropout(module: Any, arrays: Arrays, context: LayerContext, rank: int = 0) -> Converted:
    axes = tuple(range(1, rank + 1))
    arguments = {"rate": module.p, "broadcast_dims": axes, "deterministic": True}
    layout = context.image(rank) if rank else context.layout
    return LayerSpec("Dropout", arguments, dimensions=rank + 2 if rank else None), layout


def _flatten(module: Any, arrays: Arrays, context: LayerContext) -> Converted:
    layout, ends = context.layout, (module.start_dim, module.end_dim)
    last = layout + 1 if isinstance(layout, int) else -1
    dimensions = layout + 2 if isinstance(layout, int) else None
    if layout in ("features", "flat"):
        start, end = ends

        def plain(x: jax.Array) -> jax.Array:
            first, final = start % x.ndim, end % x.ndim
            return x.reshape(*x.shape[:first], -1, *x.shape[final + 1 :])

        return LayerSpec(function=plain), ("flat" if ends == (1, -1) else "features")
    if ends in ((1, -1), (1, last)):
        return LayerSpec(function=spatial.flatten, dimensions=dimensions), "flat"
    if ends in ((2, -1), (2, last)) and isinstance(layout, int):
        return LayerSpec(function=spatial.flatten_space, dimensions=dimensions), 1
    raise context.error(
        f"has start_dim={module.start_dim}, end_dim={module.end_dim}; only (1, -1), all but the "
        "batch, and (2, -1), the space of an image, can be converted"
    )


def _unflatten(module: Any, arrays: Arrays, context: LayerContext) -> Converted:
    shape = tuple(module.unflattened_size)
    if module.dim != 1 or context.layout not in (None, "features", "flat") or len(shape) < 2:
        raise context.error("can be converted only with dim=1 on (batch, features)")
    return LayerSpec(function=spatial.unflatten(shape), dimensions=2), len(shape) - 1


def _spatial(make: Callable[..., spatial.Function], *extra: Any) -> Callable[..., Converted]:
    """Return the conversion of a layer without parameters over an image."""

    def convert(module: Any, arrays: Arrays, context: LayerContext, rank: int) -> Converted:
        if getattr(module, "return_indices", False):
            raise context.error("returns indices too; set return_indices=False")
        return LayerSpec(function=make(module, rank, *extra)), context.image(rank)

    return convert


def _upsample(module: Any, arrays: Arrays, context: LayerContext) -> Converted:
    ranks = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
    rank = ranks.get(module.mode)
    if rank is None and not str(module.mode).startswith("nearest"):
        raise context.error(f"has mode={module.mode!r}, which cannot be converted")
    if rank is None and isinstance(context.layout, int):
        rank = context.layout
    layout = context.channels()[0] if rank is None else context.image(rank)
    if layout == "flat":
        context.image(1)
    return LayerSpec(function=spatial.resize(module, rank)), layout


def _activation(module: Any, arrays: Arrays, context: LayerContext) -> Converted:
    return activations.layer_spec(module, context)


def _ranked(
    name: str, make: Callable[..., Converted], dimensions: tuple[int, ...] = (1, 2, 3)
) -> Any:
    return {f"{name}{n}d": functools.partial(make, rank=n) for n in dimensions}


# torch's class -> function of (module, its arrays, its context), returning (spec, layout after it)
CONVERSIONS: dict[str, Callable[[Any, Arrays, LayerContext], Converted]] = {
    **_ranked("Conv", _convolution),
    **_ranked("ConvTranspose", _transposed),
    **_ranked("BatchNorm", _batch_norm),
    **_ranked("InstanceNorm", _instance_norm),
    **_ranked("Dropout", _dropout),
    **_ranked("MaxPool", _spatial(spatial.max_pool)),
    **_ranked("AvgPool", _spatial(spatial.mean_pool)),
    **_ranked("AdaptiveAvgPool", _spatial(spatial.adaptive_pool, jnp.mean)),
    **_ranked("AdaptiveMaxPool", _spatial(spatial.adaptive_pool, jnp.max)),
    **_ranked("ConstantPad", _spatial(spatial.padded, "constant")),
    **_ranked("ZeroPad", _spatial(spatial.padded, "constant")),
    **_ranked("ReflectionPad", _spatial(spatial.padded, "reflect")),
    **_ranked("ReplicationPad", _spatial(spatial.padded, "replicate")),
    **_ranked("CircularPad", _spatial(spatial.padded, "circular")),
    "Dropout": _dropout,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "GroupNorm": _group_norm,
    "LayerNorm": _layer_norm,
    "Linear": _linear,
    "PReLU": _prelu,
    "PixelShuffle": functools.partial(_spatial(spatial.pixel_shuffle), rank=2),
    "PixelUnshuffle": functools.partial(_spatial(spatial.pixel_unshuffle), rank=2),
    "RMSNorm": _rms_norm,
    "Unflatten": _unflatten,
    "Upsample": _upsample,
    "UpsamplingBilinear2d": _upsample,
    "UpsamplingNearest2d": _upsample,
    **dict.fromkeys(activations.NAMES, _activation),
}

_SCALE_AND_BIAS = {"weight": "scale", "bias": "bias"}


def _norm(module: Any, arrays: Arrays) -> dict[str, Any]:
    """Return the arguments that all of Flax's normalisation layers have."""
    dtypes = {array.dtype for name, array in arrays.items() if name != "num_batches_tracked"}
    return {
        "epsilon": module.eps,
        "use_scale": "weight" in arrays,
        "use_bias": "bias" in arrays,
        # Flax's default computes the variance as a difference of two means, which loses digits
        "use_fast_variance": False,
        "param_dtype": dtypes.pop() if dtypes else np.dtype(np.float32),
    }


def _rename(arrays: Arrays, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    return {flax: arrays[torch] for torch, flax in names.items() if torch in arrays}


def _function(function: Callable[..., jax.Array], arrays: Arrays) -> LayerSpec:
    return LayerSpec(function=function, params=_rename(arrays, _SCALE_AND_BIAS))


def _with_dimensions(spec: LayerSpec, dimensions: int | None) -> LayerSpec:
    return spec if dimensions is None else dataclasses.replace(spec, dimensions=dimensions)


def _leaky(x: jax.Array, negative_slope: jax.Array) -> jax.Array:
    return jnp.where(x >= 0, x, negative_slope * x)


def _normalised(x: jax.Array, axes: tuple[int, ...], epsilon: float) -> jax.Array:
    mean = x.mean(axes, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(x.var(axes, keepdims=True) + epsilon)


def _normalised_over_batch(x: jax.Array, *, epsilon: float, **affine: jax.Array) -> jax.Array:
    y = _normalised(x, tuple(range(x.ndim - 1)), epsilon)
    return _scale_and_shift(y, **affine)


def _normalised_last(x: jax.Array, *, count: int, epsilon: float, **affine: jax.Array) -> jax.Array:
    return _scale_and_shift(_normalised(x, tuple(range(x.ndim - count, x.ndim)), epsilon), **affine)


def _normalised_image(x: jax.Array, *, rank: int, epsilon: float, **affine: jax.Array) -> jax.Array:
    # the parameters are in torch's order, (channels, *space)
    last = {name: jnp.moveaxis(array, 0, -1) for name, array in affine.items()}
    return _normalised_last(x, count=rank + 1, epsilon=epsilon, **last)


def _scale_and_shift(
    y: jax.Array, scale: jax.Array | None = None, bias: jax.Array | None = None
) -> jax.Array:
    y = y if scale is None else y * scale
    return y if bias is None else y + bias
