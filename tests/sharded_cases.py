"""Convolutions on meshes: the table that values, gradients and traffic are tested on."""

import re
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from jaxconv._core.geometry.spec import normalise

P = PartitionSpec


def mesh_of(kind=AxisType.Auto, shape=(4, 2)):
    return jax.make_mesh(shape, ("a", "b")[: len(shape)], axis_types=(kind,) * len(shape))


def parts_of(axes):
    """How many parts the axes of that mesh make, by their letters."""
    return 4 ** axes.count("a") * 2 ** axes.count("b")


@dataclass(frozen=True)
class Sharded:
    """A convolution and how its operands lie on the mesh of 4 x 2 devices."""

    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    x_spec: PartitionSpec
    w_spec: PartitionSpec
    arguments: dict[str, Any]

    def __str__(self):
        return self.name

    @property
    def spec(self):
        arguments = {k: v for k, v in self.arguments.items() if k != "padding_mode"}
        return normalise("conv", self.x, self.w, **arguments)

    @property
    def traits(self):
        """What distinguishes it: few cases have all traits among them (`covering.py`)."""
        spec, lead = self.spec, len(self.x) - len(self.w) + 1
        of_x = [*["batch"] * lead, *["space"] * spec.rank, "channels"]
        of_w = [*["kernel"] * spec.rank, "inputs", "outputs"]
        found = {spec.rank, lead, self.arguments.get("padding_mode", "zeros")}
        for names, sizes, entries in ((of_x, self.x, self.x_spec), (of_w, self.w, self.w_spec)):
            for name, size, entry in zip(names, sizes, entries, strict=False):
                axes = (entry or "") if isinstance(entry, str | None) else "".join(entry)
                found |= {(name, len(axes) > 1 and axes)} if axes else set()
                found |= {(name, "uneven")} if size % parts_of(axes) else set()
                if name in ("channels", "outputs") and axes and spec.groups > 1:
                    found |= {(name, each) for each in self._groups(axes)}
        # which of these are cut together
        found.add(("together", *sorted(str(each[0]) for each in found if isinstance(each, tuple))))
        flags = {
            "stride": max(spec.stride) > 1,
            "dilation": max(spec.dilation) > 1,
            "groups": spec.groups > 1,
            "cut": min(map(min, spec.padding)) < 0,
        }
        return found | {name for name, has in flags.items() if has}

    def _groups(self, axes):
        """What axes along the channels do to groups, as `partition.layout` sees it."""
        groups, parts = self.spec.groups, parts_of(axes)
        whole = next(n for n in range(len(axes), -1, -1) if groups % parts_of(axes[:n]) == 0)
        if whole == len(axes) or parts_of(axes[:whole]) == groups:
            return {"whole groups" if whole == len(axes) else "groups of several devices"}
        uneven = "in uneven parts" if parts % groups else "in even parts"
        return {"cut groups", f"cut groups {uneven}", f"cut, {self.w[-1] % parts == 0} outputs"}

    def arrays(self, seed=0):
        """Random x, w, b and a cotangent of y: small whole numbers, so that sums are exact."""
        rng = np.random.default_rng(seed)
        y = (*self.x[: len(self.x) - self.spec.rank - 1], *self.spec.output_size, self.w[-1])
        shapes = (self.x, self.w, self.w[-1:], y)
        return [jnp.asarray(rng.integers(-4, 5, shape), "float32") for shape in shapes]


WHOLE = P()


def case(name, x, w, x_spec, w_spec=WHOLE, /, **arguments):
    return Sharded(name, x, w, x_spec, w_spec, arguments)


CASES = (
    case("batch", (8, 5, 3), (3, 3, 4), P("a"), padding=1),
    case("1d causal", (2, 16, 3), (4, 3, 4), P(None, "a"), padding="causal", dilation=2),
    case("1d several hops", (1, 16, 2), (9, 2, 3), P(None, ("a", "b")), padding="same"),
    case("1d another order of axes", (1, 16, 2), (3, 2, 3), P(None, ("b", "a")), padding=1),
    case("1d full", (1, 12, 2), (3, 2, 3), P(None, "a"), padding="full"),
    case("1d uneven", (3, 13, 2), (3, 2, 3), P("b", "a"), padding=1),
    case("1d stride drifts", (1, 29, 2), (4, 2, 3), P(None, "a"), stride=3),
    case("1d stride over kernel", (1, 24, 2), (2, 2, 3), P(None, "a"), stride=3),
    case("1d cut", (1, 20, 2), (2, 2, 3), P(None, "a"), padding=((-7, -1),)),
    case("1d fewer outputs than devices", (1, 8, 2), (6, 2, 3), P(None, ("a", "b"))),
    case("1d no batch, wide pads", (5, 2), (3, 2, 2), P("a"), padding=6),
    case("2d both", (2, 8, 6, 3), (3, 3, 3, 4), P(None, "a", "b"), padding=1),
    case(
        "2d strided and dilated",
        (2, 16, 12, 2),
        (3, 2, 2, 4),
        P(None, "a", "b"),
        stride=2,
        padding=((2, 2), (1, 1)),
        dilation=(2, 3),
    ),
    case(
        "2d grouped everything",
        (2, 11, 9, 4),
        (3, 2, 2, 6),
        P("b", "a"),
        stride=(2, 1),
        padding=((1, 0), (-1, 0)),
        dilation=(1, 2),
        groups=2,
    ),
    case("3d", (1, 8, 3, 6, 2), (3, 2, 3, 2, 3), P(None, "a", None, "b"), padding=1),
    case("batch axes", (2, 4, 5, 4, 2), (3, 3, 2, 3), P("b", "a"), padding=1),
    case("groups", (2, 8, 4), (3, 1, 8), P(None, "b", "a"), groups=4, padding=1),
    case("groups in parts", (2, 8, 16), (3, 4, 8), P(None, None, ("a", "b")), groups=4, padding=1),
    case("groups cut in two", (2, 8, 8), (3, 4, 12), P("b", None, "a"), groups=2, padding=1),
    case("groups cut, other order", (8, 16), (3, 8, 8), P(None, ("b", "a")), groups=2, padding=1),
    case("groups cut, halo", (2, 8, 8), (3, 4, 4), P(None, "b", "a"), groups=2, padding=1),
    case("groups cut, few outputs", (2, 8, 8), (3, 4, 2), P(None, "b", "a"), groups=2, padding=1),
    case("groups cut unevenly", (2, 8, 12), (3, 2, 12), P(None, "b", "a"), groups=6, padding=1),
    case("groups cut unevenly, whole", (8, 12), (3, 4, 3), P(None, "b"), groups=3, stride=2),
    case("outputs of groups", (2, 8, 8), (3, 4, 8), P("b"), P(None, None, "a"), groups=2),
    case("outputs of a group", (8, 8), (3, 4, 16), P("b"), P(None, None, "a"), groups=2, padding=1),
    case(
        "groups and outputs",
        (2, 8, 8),
        (3, 4, 8),
        P(None, None, "b"),
        P(None, None, ("b", "a")),
        groups=2,
    ),
    case("groups and inputs", (2, 8, 8), (3, 4, 8), P(None, None, "b"), P(None, "a"), groups=2),
    case("groups of w", (2, 6, 4), (3, 1, 8), P("b"), P(None, None, "a"), groups=4),
    case("output channels", (2, 8, 3), (3, 3, 4), P(None, "b"), P(None, None, "a"), padding=1),
    case("input channels", (2, 8, 8), (3, 8, 3), P(None, "b", "a"), padding=1),
    case("input channels of w", (2, 8, 8), (3, 8, 3), P("b"), P(None, "a"), padding=1),
    case("channels to channels", (2, 8, 8), (3, 8, 4), P(None, None, "a"), P(None, None, "a")),
    case("w's axes are taken", (4, 8, 3), (3, 3, 4), P("a"), P(None, None, "a"), padding=1),
    case("w in parts along the kernel", (4, 8, 3), (4, 3, 4), P("b"), P("a"), padding="same"),
    *(
        case(f"{mode} {name}", x, w, spec, padding_mode=mode, **arguments)
        for mode in ("reflect", "symmetric", "replicate", "circular")
        for name, x, w, spec, arguments in (
            ("2d", (1, 8, 6, 2), (3, 3, 2, 2), P(None, "a", "b"), {"padding": 1}),
            ("hops", (1, 13, 2), (4, 2, 2), P(None, "a"), {"padding": ((7, 5),), "stride": 2}),
        )
    ),
)


def value_and_gradients(conv, **arguments):
    """One program: y and what the cotangent of y gives x, w and b."""

    def program(x, w, b, cotangent):
        y, pull = jax.vjp(lambda x, w, b: conv(x, w, b, **arguments), x, w, b)
        return y, *pull(cotangent)

    return jax.jit(program)


COLLECTIVES = (
    *("collective-permute", "all-reduce", "all-gather", "all-to-all"),
    *("reduce-scatter", "collective-broadcast"),
)


def collectives(text):
    """Names of the collectives of a compiled program, in order."""
    found = re.findall(r" = (?:\([^)]*\)|\S+) ([a-z-]+?)(?:-start)?\(", text)
    return [name for name in found if name in COLLECTIVES]
