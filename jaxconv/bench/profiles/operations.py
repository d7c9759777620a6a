"""What each operation of a compiled program is: its kind, result and origin, from its HLO text."""

import math
import re
from collections import defaultdict
from collections.abc import Set
from dataclasses import dataclass

from jaxconv.bench.profiles import kinds

_PLUGIN = "jaxconv_onednn_"
_EXPENSIVE = {
    kinds.OF_XLA: {"convolution"},
    kinds.MATRIX: {"dot", "ragged-dot"},
    kinds.REDUCTION: {"reduce", "reduce-window", "select-and-scatter", "scatter", "sort"},
}
_SLICES = {"pad", "slice", "dynamic-slice", "dynamic-update-slice", "concatenate", "gather"}
_MOVES = {"copy", "transpose", "reverse", "broadcast", "convert", "reshape", "bitcast", "iota"}
_NOTHING = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast-convert"}
_LIBRARIES = {"custom-call", "convolution", "dot"}
# operations that hold others, which have events of their own
_HOLDERS = {"while", "call", "conditional"}

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) (?:\(.*)?\{$")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation.

    Attributes:
        name: in the program and in its traces.
        kind: one of `kinds`.
        result: dtype and shape, without the layout.
        computes: the JAX functions and layers it comes from, and at last the primitive.
        parts: how many parts XLA splits it into, one a thread; None where a library decides.
        holds_others: whether it is a loop or a call, whose time is that of the operations inside.
    """

    name: str
    kind: str
    result: str
    computes: str
    parts: int | None = None
    holds_others: bool = False


def operations(text: str) -> dict[str, Operation]:
    """Return every operation of a program by name.

    Args:
        text: `compiled.as_text()`.
    """
    inside = _opcodes(text)
    found = {}
    for line in text.splitlines():
        if (match := _INSTRUCTION.match(line)) is None:
            continue
        name, result, opcode = match.groups()
        found[name] = Operation(
            name=name,
            kind=_kind(opcode, line, inside),
            result=re.sub(r"\{[^}]*\}|/\*.*?\*/", "", result),
            # without the outermost, which is the same for all: the jitted function
            computes=_first(r'op_name="(?:jit\([^/]*\)/)?([^"]*)"', line),
            parts=_parts(opcode, line),
            holds_others=opcode in _HOLDERS,
        )
    return found


def _opcodes(text: str) -> dict[str, set[str]]:
    """The opcodes inside each computation."""
    found, computation = defaultdict[str, set[str]](set), ""
    for line in text.splitlines():
        if (match := _COMPUTATION.match(line)) is not None:
            computation = match.group(1)
        elif (match := _INSTRUCTION.match(line)) is not None:
            found[computation].add(match.group(3))
    return found


def _kind(opcode: str, line: str, inside: dict[str, set[str]]) -> str:
    if opcode == "custom-call":
        target = _first(r'custom_call_target="([^"]*)"', line)
        if target.startswith(_PLUGIN):
            return _of_plugin(target.removeprefix(_PLUGIN), line)
        return kinds.MATRIX if "matmul" in target or "dot" in target else kinds.OTHER
    if opcode == "fusion":
        return _kind_of(inside[_first(r"calls=%?([\w.\-]+)", line)] - _NOTHING)
    return _kind_of({opcode})


def _of_plugin(contraction: str, line: str) -> str:
    if contraction == "kernel":
        return kinds.OF_KERNEL
    # a layer's gradient of x may be computed as another layer, a transposed one's always is
    backward = "transpose(" in _first(r'op_name="([^"]*)"', line)
    return kinds.OF_X if backward else kinds.FORWARD


def _kind_of(opcodes: Set[str]) -> str:
    """The kind of what has these opcodes: that of the most expensive one."""
    for kind, of_kind in _EXPENSIVE.items():
        if opcodes & of_kind:
            return kind
    if opcodes <= _MOVES:
        return kinds.COPY
    return kinds.SLICE if opcodes <= _MOVES | _SLICES else kinds.ELEMENTWISE


def _parts(opcode: str, line: str) -> int | None:
    if opcode in _LIBRARIES or "kind=kCustom" in line:
        return None
    counts = _first(r'"outer_dimension_partitions":\[([^\]]*)\]', line)
    return math.prod(int(count) for count in re.findall(r"\d+", counts))


def _first(pattern: str, line: str) -> str:
    match = re.search(pattern, line)
    return match.group(1) if match else ""
