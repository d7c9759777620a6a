"""The house rules that a machine can check: floors, file sizes, import cost, public modules."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import jaxconv

PACKAGE = Path(jaxconv.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A module imports only from lower floors (or, inside a package, from its neighbours).
FLOORS = {
    "shapes": 0,
    "programs": 0,
    "taylor": 0,
    "dtypes": 1,
    "spec": 1,
    "reference": 2,
    "methods": 2,
    "policy": 2,
    "meshes": 1,
    "fill_values": 1,
    "joins": 1,
    "simplify": 2,
    "padding": 2,
    "partition": 3,
    "constants": 1,
    "terms": 3,
    "costs": 4,
    "choose": 5,
    "trilinear": 6,
    "filters": 6,
    "psf": 6,
    "functional": 7,
    "planes": 7,
    "windows": 7,
    "counts": 7,
    "reach": 7,
    "sizes": 7,
    "reading": 7,
    "messages": 0,
    "mutation": 6,
    "tracing": 7,
    "streaming": 8,
    "parallel": 8,
    "compat": 10,
    "accelerate": 8,
    "dense": 8,
    "equivariance": 8,
    "influence": 8,
    "matrix": 8,
    "receptive": 8,
    "layers": 8,
    "explain": 8,
    "tune": 8,
    "linen": 9,
    "nnx": 9,
    "learn": 9,
    "tiles": 9,
    "stored": 8,
    "images": 9,
    "plots": 10,
    "bench": 10,
    "cli": 11,
}
HEAVY = ("flax", "optax", "chex", "matplotlib", "torch", "typer", "rich", "skimage", "scipy")


def module_name(path: Path) -> str:
    """The room a file belongs to: `methods/lax.py` is in `methods`."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "jaxconv":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxconv."):
            rooms.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("jaxconv.")}
    return rooms - {module_name(path), "__version__"}


def violations(path: Path) -> list[str]:
    """What a file imports from its own floor or above."""
    room = module_name(path)
    return [
        f"{room} (floor {FLOORS[room]}) imports {other} (floor {FLOORS[other]})"
        for other in imported_rooms(path)
        if FLOORS[other] >= FLOORS[room]
    ]


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.name != "__init__.py" or p.parent != PACKAGE],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_imports_go_down_only(path):
    assert module_name(path) in FLOORS, f"give {path.name} a floor"
    assert violations(path) == []


def test_an_upward_import_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "shapes.py").write_text("from jaxconv.functional import conv\n")
    assert violations(tmp_path / "shapes.py") == ["shapes (floor 0) imports functional (floor 7)"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short_and_use_public_jax(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert "jax._src" not in text


def test_import_brings_nothing_heavy():
    code = f"import sys, jaxconv; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_functions_are_documented():
    """Formula aside, every public function has arguments, result, errors, an example, a source."""
    for name in jaxconv.__all__:
        function = getattr(jaxconv, name)
        if inspect.isfunction(function):
            for section in ("Args:", "Returns:", "Raises:", "Example:", "Source:"):
                assert section in (function.__doc__ or ""), f"{name} has no {section}"
