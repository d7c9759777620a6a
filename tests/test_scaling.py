"""Scaling on paper: the script's own assertions, and its formulas beside compiled programs."""

import importlib.util
import sys
from pathlib import Path

import jax
import pytest

from jaxconv import parallel

SCRIPT = Path(__file__).parents[1] / "examples" / "scaling.py"


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("scaling", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_asserts_its_tables_and_draws(scaling, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path)])
    scaling.main()
    printed = capsys.readouterr().out
    assert "figure: scaling.png" in printed
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
    for machine in scaling.MACHINES:
        assert machine.source in printed
    assert "assumed: 1 microsecond a hop" in printed


@pytest.mark.parametrize(
    ("x", "mesh", "geometry"),
    [
        ((2, 24, 24, 4), (2, 4), {"padding": 1, "padding_mode": "circular"}),
        ((1, 32, 24, 4), (4, 2), {"stride": (2, 3), "padding": ((1, 0), (0, 0))}),
        ((1, 27, 22, 4), (4, 2), {"padding": 1}),
    ],
    ids=str,
)
def test_bytes_are_those_of_the_program(scaling, x, mesh, geometry):
    x, w = (jax.ShapeDtypeStruct(shape, "float32") for shape in (x, (3, 3, 4, 2)))
    assert 0 < scaling.sent(x, w, mesh, **geometry) == scaling.halo(x, w, mesh, **geometry)


def test_arithmetic_is_that_of_the_program(scaling):
    """XLA's own count of a convolution without padding, on one device and on a block of four."""
    x, w = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((2, 21, 18, 6), (4, 3, 6, 5)))
    for rows, mesh in ((21, (1, 1)), (12, (2, 1))):  # 18 outputs; 9 of them
        part = jax.ShapeDtypeStruct((2, rows, 18, 6), "float32")
        call = jax.jit(
            lambda x, w: jax.lax.conv_general_dilated(
                x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        )
        assert scaling.arithmetic(x, w, mesh) == call.lower(part, w).cost_analysis()["flops"]


def test_what_is_counted_of_a_program():
    """Asynchronous, several at once, predicates; other collectives do not count."""
    text = """
      %a = (bf16[2,8]{1,0:T(8,128)}, bf16[2,8]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%x), channel_id=1, source_target_pairs={{0,1},{1,2}}
      %b = bf16[2,8]{1,0} collective-permute-done(%a)
      %c = (f32[3]{0}, s8[5]{0}) collective-permute(%y, %z), source_target_pairs={{0,3}}
      %d = pred[7]{0} collective-permute(%p), source_target_pairs={{0,3},{3,0},{1,2}}
      %e = f32[100]{0} all-reduce(%q), replica_groups={{0,1}}
    """  # noqa: E501 - as XLA prints them
    assert parallel.permuted_bytes(text) == 2 * 32 + (12 + 5) + 3 * 7
