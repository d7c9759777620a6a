"""What each layer of torch is in Flax: the class, its arguments and its arrays."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.compat.torch import _activations as pointwise
from jaxconv.compat.torch import _spatial_layers as pools
from jaxconv.compat.torch._layer_specs import Layout, Place, Step

Made = tuple[Step, Layout]
Arrays = Mapping[str, np.ndarray]  # the module's own parameters and buffers, by torch's names


def kernel_of(weight: np.ndarray) -> np.ndarray:
    """(a, b, *kernel) -> (*kernel, b, a): of both convolutions and, of rank zero, of Linear."""
    return np.moveaxis(weight, (0, 1), (-1, -2)).copy()


def _convolution(module: Any, arrays: Arrays, place: Place, rank: int) -> Made:
    dilation, kernel = module.dilation, module.kernel_size
    pads = module.padding
    if pads == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = tuple((total // 2, total - total // 2) for total in totals)
    elif pads == "valid":
        pads = ((0, 0),) * rank
    else:
        pads = tuple((p, p) for p in pools.each(pads, rank))
    arguments = {
        "kernel_size": kernel,
        "strides": module.stride,
        "padding": pads,
        "kernel_dilation": dilation,
        "feature_group_count": module.groups,
        "padding_mode": module.padding_mode,
    }
    return _dense("Conv", module, arrays, arguments), place.image(rank)


def _transposed(module: Any, arrays: Arrays, place: Place, rank: int) -> Made:
    # what output_padding adds after is not cut off there: also where it is not below the stride
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
    return _dense("ConvTranspose", module, arrays, arguments), place.image(rank)


def _dense(kind: str, module: Any, arrays: Arrays, arguments: dict[str, Any]) -> Step:
    """A layer with a kernel."""
    weight = arrays["weight"]
    convolves = kind != "Dense"
    inputs = module.in_channels if convolves else module.in_features
    features = module.out_channels if convolves else module.out_features
    return Step(
        kind,
        {**arguments, "use_bias": "bias" in arrays, "param_dtype": weight.dtype},
        linen={"features": features},
        nnx={"in_features": inputs, "out_features": features},
        params=_named(arrays, {"bias": "bias"}) | {"kernel": kernel_of(weight)},
    )


def _linear(module: Any, arrays: Arrays, place: Place) -> Made:
    layout, dimensions = place.features()
    step = _dense("Dense", module, arrays, {})
    return _needing(step, dimensions), layout


def _embedding(module: Any, arrays: Arrays, place: Place) -> Made:
    if place.layout not in (None, "features", "flat"):
        raise place.refusal("takes indices, but does not come first")
    if module.max_norm is not None or module.scale_grad_by_freq:
        raise place.refusal("has max_norm or scale_grad_by_freq, which no layer of Flax's has")
    table = arrays["weight"]
    arguments = {"num_embeddings": len(table), "features": table.shape[1]}
    arguments["param_dtype"] = table.dtype
    return Step("Embed", arguments, params={"embedding": table}), "features"


def _batch_norm(module: Any, arrays: Arrays, place: Place, rank: int) -> Made:
    if rank == 1 and place.layout != 1:
        if isinstance(place.layout, int):
            place.image(1)
        layout, dimensions = place.channels()
    else:
        layout, dimensions = place.image(rank), None
    if "running_mean" not in arrays:
        function = functools.partial(_normalised_over_batch, epsilon=module.eps)
        return _needing(_own(function, arrays), dimensions), layout
    if module.momentum is None:
        raise place.refusal(
            "has momentum=None, a mean over all batches that no layer of Flax's takes; give it a "
            "number"
        )
    arguments = {**_norm(module, arrays), "momentum": 1 - module.momentum}
    step = Step(
        "BatchNorm",
        {**arguments, "use_running_average": True},
        nnx={"num_features": module.num_features},
        params=_named(arrays, _SCALE_AND_BIAS),
        stats=_named(arrays, {"running_mean": "mean", "running_var": "var"}),
    )
    return _needing(step, dimensions), layout


def _group_norm(module: Any, arrays: Arrays, place: Place) -> Made:
    layout, dimensions = place.channels()
    step = Step(
        "GroupNorm",
        {**_norm(module, arrays), "num_groups": module.num_groups},
        nnx={"num_features": module.num_channels},
        params=_named(arrays, _SCALE_AND_BIAS),
    )
    return _needing(step, dimensions), layout


def _instance_norm(module: Any, arrays: Arrays, place: Place, rank: int) -> Made:
    if "running_mean" in arrays:
        raise place.refusal(
            "has running statistics, which no InstanceNorm of Flax's has; set "
            "track_running_stats=False, or in evaluation use a BatchNorm with its numbers"
        )
    step = Step(
        "InstanceNorm",
        _norm(module, arrays),
        nnx={"num_features": module.num_features},
        params=_named(arrays, _SCALE_AND_BIAS),
        # torch's takes unbatched images as well, and would normalise other axes
        dimensions=rank + 2,
    )
    return step, place.image(rank)


def _layer_norm(module: Any, arrays: Arrays, place: Place) -> Made:
    shape = module.normalized_shape
    rank = len(shape) - 1
    if rank and place.layout in (None, "channels", rank):
        function = functools.partial(_normalised_image, rank=rank, epsilon=module.eps)
        return _own(function, arrays), place.image(rank)
    layout, dimensions = place.features()
    if rank:
        function = functools.partial(_normalised_last, count=rank + 1, epsilon=module.eps)
        return _needing(_own(function, arrays), dimensions), layout
    step = Step(
        "LayerNorm",
        _norm(module, arrays),
        nnx={"num_features": shape[0]},
        params=_named(arrays, _SCALE_AND_BIAS),
    )
    return _needing(step, dimensions), layout


def _rms_norm(module: Any, arrays: Arrays, place: Place) -> Made:
    if len(module.normalized_shape) > 1 or "weight" not in arrays or module.eps is None:
        raise place.refusal("is carried over one dimension, with a weight and a given eps, alone")
    layout, dimensions = place.features()
    arguments = {"epsilon": module.eps, "param_dtype": arrays["weight"].dtype}
    step = Step(
        "RMSNorm",
        {**arguments, "use_fast_variance": False},
        nnx={"num_features": module.normalized_shape[0]},
        params=_named(arrays, _SCALE_AND_BIAS),
    )
    return _needing(step, dimensions), layout


def _prelu(module: Any, arrays: Arrays, place: Place) -> Made:
    layout, dimensions = place.channels() if module.num_parameters > 1 else (place.layout, None)
    step = Step(function=_leaking, params={"negative_slope": arrays["weight"]})
    return _needing(step, dimensions), layout


def _dropout(module: Any, arrays: Arrays, place: Place, rank: int = 0) -> Made:
    axes = tuple(range(1, rank + 1))
    arguments = {"rate": module.p, "broadcast_dims": axes, "deterministic": True}
    layout = place.image(rank) if rank else place.layout
    return Step("Dropout", arguments, dimensions=rank + 2 if rank else None), layout


def _flatten(module: Any, arrays: Arrays, place: Place) -> Made:
    layout, ends = place.layout, (module.start_dim, module.end_dim)
    last = layout + 1 if isinstance(layout, int) else -1
    dimensions = layout + 2 if isinstance(layout, int) else None
    if layout in ("features", "flat"):
        start, end = ends

        def plain(x: jax.Array) -> jax.Array:
            first, final = start % x.ndim, end % x.ndim
            return x.reshape(*x.shape[:first], -1, *x.shape[final + 1 :])

        return Step(function=plain), ("flat" if ends == (1, -1) else "features")
    if ends in ((1, -1), (1, last)):
        return Step(function=pools.flatten, dimensions=dimensions), "flat"
    if ends in ((2, -1), (2, last)) and isinstance(layout, int):
        return Step(function=pools.flatten_space, dimensions=dimensions), 1
    raise place.refusal(
        f"has start_dim={module.start_dim}, end_dim={module.end_dim}; all but the batch (1, -1), "
        "or the space of an image (2, -1), are carried over"
    )


def _unflatten(module: Any, arrays: Arrays, place: Place) -> Made:
    shape = tuple(module.unflattened_size)
    if module.dim != 1 or place.layout not in (None, "features", "flat") or len(shape) < 2:
        raise place.refusal("is carried over where it makes (batch, features) an image: dim=1")
    return Step(function=pools.unflatten(shape), dimensions=2), len(shape) - 1


def _image(make: Callable[..., pools.Function], *more: Any) -> Callable[..., Made]:
    """A layer without parameters over an image of a rank."""

    def made(module: Any, arrays: Arrays, place: Place, rank: int) -> Made:
        if getattr(module, "return_indices", False):
            raise place.refusal("returns indices too; set return_indices=False")
        return Step(function=make(module, rank, *more)), place.image(rank)

    return made


def _upsample(module: Any, arrays: Arrays, place: Place) -> Made:
    ranks = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
    rank = ranks.get(module.mode)
    if rank is None and not str(module.mode).startswith("nearest"):
        raise place.refusal(f"has mode={module.mode!r}, which is not carried over")
    if rank is None and isinstance(place.layout, int):
        rank = place.layout
    layout = place.channels()[0] if rank is None else place.image(rank)
    if layout == "flat":
        place.image(1)
    return Step(function=pools.resize(module, rank)), layout


def _activation(module: Any, arrays: Arrays, place: Place) -> Made:
    return pointwise.step(module, place)


def _ranked(name: str, make: Callable[..., Made], dimensions: tuple[int, ...] = (1, 2, 3)) -> Any:
    return {f"{name}{n}d": functools.partial(make, rank=n) for n in dimensions}


# torch's class -> (module, its arrays, its place) -> (step, the layout after it)
KINDS: dict[str, Callable[[Any, Arrays, Place], Made]] = {
    **_ranked("Conv", _convolution),
    **_ranked("ConvTranspose", _transposed),
    **_ranked("BatchNorm", _batch_norm),
    **_ranked("InstanceNorm", _instance_norm),
    **_ranked("Dropout", _dropout),
    **_ranked("MaxPool", _image(pools.max_pool)),
    **_ranked("AvgPool", _image(pools.mean_pool)),
    **_ranked("AdaptiveAvgPool", _image(pools.adaptive_pool, jnp.mean)),
    **_ranked("AdaptiveMaxPool", _image(pools.adaptive_pool, jnp.max)),
    **_ranked("ConstantPad", _image(pools.padded, "constant")),
    **_ranked("ZeroPad", _image(pools.padded, "constant")),
    **_ranked("ReflectionPad", _image(pools.padded, "reflect")),
    **_ranked("ReplicationPad", _image(pools.padded, "replicate")),
    **_ranked("CircularPad", _image(pools.padded, "circular")),
    "Dropout": _dropout,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "GroupNorm": _group_norm,
    "LayerNorm": _layer_norm,
    "Linear": _linear,
    "PReLU": _prelu,
    "RMSNorm": _rms_norm,
    "Unflatten": _unflatten,
    "Upsample": _upsample,
    "UpsamplingBilinear2d": _upsample,
    "UpsamplingNearest2d": _upsample,
    **dict.fromkeys(pointwise.NAMES, _activation),
}

_SCALE_AND_BIAS = {"weight": "scale", "bias": "bias"}


def _norm(module: Any, arrays: Arrays) -> dict[str, Any]:
    """The arguments that all of Flax's normalisations have."""
    dtypes = {array.dtype for name, array in arrays.items() if name != "num_batches_tracked"}
    return {
        "epsilon": module.eps,
        "use_scale": "weight" in arrays,
        "use_bias": "bias" in arrays,
        # a difference of two means, which loses digits, is Flax's default
        "use_fast_variance": False,
        "param_dtype": dtypes.pop() if dtypes else np.dtype(np.float32),
    }


def _named(arrays: Arrays, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    return {ours: arrays[theirs] for theirs, ours in names.items() if theirs in arrays}


def _own(function: Callable[..., jax.Array], arrays: Arrays) -> Step:
    return Step(function=function, params=_named(arrays, _SCALE_AND_BIAS))


def _needing(step: Step, dimensions: int | None) -> Step:
    return step if dimensions is None else dataclasses.replace(step, dimensions=dimensions)


def _leaking(x: jax.Array, negative_slope: jax.Array) -> jax.Array:
    return jnp.where(x >= 0, x, negative_slope * x)


def _normalised(x: jax.Array, axes: tuple[int, ...], epsilon: float) -> jax.Array:
    mean = x.mean(axes, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(x.var(axes, keepdims=True) + epsilon)


def _normalised_over_batch(x: jax.Array, *, epsilon: float, **affine: jax.Array) -> jax.Array:
    y = _normalised(x, tuple(range(x.ndim - 1)), epsilon)
    return _moved(y, **affine)


def _normalised_last(x: jax.Array, *, count: int, epsilon: float, **affine: jax.Array) -> jax.Array:
    return _moved(_normalised(x, tuple(range(x.ndim - count, x.ndim)), epsilon), **affine)


def _normalised_image(x: jax.Array, *, rank: int, epsilon: float, **affine: jax.Array) -> jax.Array:
    # the parameters keep torch's order: (channels, *space)
    last = {name: jnp.moveaxis(array, 0, -1) for name, array in affine.items()}
    return _normalised_last(x, count=rank + 1, epsilon=epsilon, **last)


def _moved(
    y: jax.Array, scale: jax.Array | None = None, bias: jax.Array | None = None
) -> jax.Array:
    y = y if scale is None else y * scale
    return y if bias is None else y + bias
