"""The house rules that a machine can check: floors, circles, file sizes, what is public."""

import ast
import graphlib
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import conftest
import public_names
import pytest
from beartype.roar import BeartypeCallHintViolation

import jaxconv

PACKAGE = Path(jaxconv.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FINDINGS = Path(__file__).parents[1] / "findings"

# A file imports only from lower floors, or from its own room.
FLOORS = {
    "_core.geometry": 0,
    "_core.extras": 0,
    "_core.machine": 0,
    "_core.programs": 0,
    "_core.number_text": 0,
    "_core.missing_names": 0,
    "_core.methods": 1,
    "_core.partition": 1,
    "_core.dispatch": 2,
    "_functional": 3,
    "filters": 3,
    "psf": 3,
    "reference": 3,
    "_transforms": 4,
    "_files": 4,
    "_flax_layers": 4,
    "analysis": 4,
    "parallel": 4,
    "linen": 5,
    "nnx": 5,
    "learn": 5,
    "plots": 5,
    "restore": 5,
    "tiles": 5,
    "varying": 5,
    "compat": 6,
    "bench": 6,
    "cli": 7,
}
# Programs, which are run and not imported: nothing in them is public.
PROGRAMS = ("bench", "cli")
HEAVY = (
    *("flax", "optax", "chex", "matplotlib", "torch", "typer", "rich", "skimage", "scipy"),
    "jax.experimental.pallas",
)


def module_name(path: Path) -> str:
    """`jaxconv/_core/methods/lax.py` is `_core.methods.lax`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """`_core.methods.lax` is in the room `_core.methods`, `learn.losses` in `learn`."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "_core" else 1])


def is_module(module: str) -> bool:
    path = PACKAGE / module.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def imports(path: Path) -> list[tuple[str, str]]:
    """What a file takes from the package: (module, name), the name empty for a whole module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxconv":
            source = str(node.module).removeprefix("jaxconv").removeprefix(".")
            for alias in node.names:
                module = f"{source}.{alias.name}".removeprefix(".")
                found.append((module, "") if is_module(module) else (source, alias.name))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("jaxconv.")]
            found += [(name.removeprefix("jaxconv."), "") for name in names]
    return found


def violations(path: Path) -> list[str]:
    """What a file imports from its own floor or above, or what is private elsewhere."""
    room, found = room_of(module_name(path)), []
    for module, name in imports(path):
        other = room_of(module)
        if module and other != room and FLOORS[other] >= FLOORS[room]:
            found.append(f"{room} (floor {FLOORS[room]}) imports {other} (floor {FLOORS[other]})")
        if name.startswith("_") and name != "__version__":
            found.append(f"{name} is private to {module}")
        if other != room and "._" in module.removeprefix("_core."):
            found.append(f"{module} is private to {other}")
    return found


INSIDE = [path for path in FILES if path.parent != PACKAGE or path.name != "__init__.py"]


@pytest.mark.parametrize("path", INSIDE, ids=module_name)
def test_imports_go_down_only(path):
    if path.parent == PACKAGE / "_core" and path.name == "__init__.py":
        return
    assert room_of(module_name(path)) in FLOORS, f"give {path.name} a floor"
    assert violations(path) == []


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The files of a circle of imports, none if there is no circle."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_file_imports_itself_by_way_of_others():
    """Inside rooms too: an import of a package's file does not count as one of its `__init__`."""
    graph = {module_name(path): {module for module, _ in imports(path)} for path in INSIDE}
    assert circle(graph) == []
    graph["_core.geometry.shapes"].add("_core.geometry.spec")
    assert set(circle(graph)) == {"_core.geometry.shapes", "_core.geometry.spec"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "from jaxconv._functional.convolution import conv",
            "_core.geometry (floor 0) imports _functional (floor 3)",
        ),
        ("from jaxconv._core.geometry.shapes import _six", "_six is private to _core.geometry.sha"),
        ("from jaxconv.learn import _driver", "learn._driver is private to learn"),
    ],
)
def test_a_wrong_import_is_seen(tmp_path, line, message, monkeypatch):
    source = PACKAGE
    monkeypatch.setattr(
        sys.modules[__name__],
        "is_module",
        lambda module, there=is_module: there(module) or (source / module).is_dir(),
    )
    file = PACKAGE / "_core" / "geometry" / "wrong.py"
    monkeypatch.setattr(Path, "read_text", lambda path: line)
    assert any(found.startswith(message) for found in violations(file))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short_and_use_public_jax(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert "jax._src" not in text


@pytest.mark.parametrize("script", sorted(FINDINGS.glob("*.sh")), ids=lambda path: path.stem)
def test_findings_are_scripts_that_can_be_run(script):
    text = script.read_text()
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert "\n# Expected: " in text
    assert "\n# Seen: " in text
    assert "\nset -euo pipefail\n" in text


def public_modules() -> list[str]:
    modules = [module_name(path) for path in INSIDE]
    return [m for m in modules if not re.search(r"(^|\.)_", m) and room_of(m) not in PROGRAMS]


@pytest.mark.parametrize("name", public_modules())
def test_a_public_module_says_what_is_in_it(name):
    """`__all__` names every public definition of the module, and nothing that is not there."""
    module = importlib.import_module(f"jaxconv.{name}")
    tree = ast.parse(Path(str(module.__file__)).read_text())
    definitions = (ast.FunctionDef, ast.ClassDef)
    defined = {n.name for n in tree.body if isinstance(n, definitions)}
    assert {n for n in defined if not n.startswith("_")} <= set(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)
    assert not any(public.startswith("_") for public in module.__all__)


def test_dir_is_what_is_public():
    assert dir(jaxconv) == sorted(jaxconv.__all__)
    tops = {name.split(".")[0] for name in public_modules()}
    assert tops <= set(jaxconv.__all__), "a public module is reachable from `jaxconv`"
    listed = re.findall(r"`(?:jaxconv\.)?(\w+)`", str(jaxconv.__doc__))
    assert set(jaxconv.__all__) <= set(listed), "the package's own table lists it"


def test_submodules_load_on_first_use():
    code = (
        "import sys, jaxconv\n"
        f"heavy = [m for m in {HEAVY} if m in sys.modules]\n"
        "assert heavy == [], heavy\n"
        "assert 'jaxconv.learn' not in sys.modules\n"
        "jaxconv.learn.fit_kernel, jaxconv.nnx.Conv, jaxconv.compat.torch.conv2d\n"
        "try: jaxconv.lern\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "module 'jaxconv' has no attribute 'lern'"


@pytest.mark.parametrize("module", conftest.CHECKED)
def test_types_are_checked_in_tests(module):
    """`tests/conftest.py` has beartype check every call of these modules."""
    checked = importlib.import_module(module)
    wrong = {
        "jaxconv._core.geometry.shapes": lambda: checked.extent("3", 2),
        "jaxconv._core.geometry.spec": lambda: checked.check_groups("conv", 3, 1),
        "jaxconv.reference": lambda: checked.corr2d(3, "k"),
        "jaxconv._core.methods": lambda: checked.columns.refuses("kernel"),
        "jaxconv._core.dispatch.choose": lambda: checked.candidates(3),
    }[module]
    with pytest.raises(BeartypeCallHintViolation):
        wrong()


def test_signatures_read_as_written():
    """`help` shows `jax.Array | np.ndarray`, not the modules in which JAX and we keep them."""
    internal = re.compile(r"jax\.jaxlib|jax\._src|jaxconv\.|numpy\.|Union\[|collections\.abc")
    shown = {}
    for module in public_names.MODULES.values():
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                shown[f"{module.__name__}.{name}"] = str(inspect.signature(value))
    assert len(shown) > 140
    assert {name: text for name, text in shown.items() if internal.search(text)} == {}
    assert shown["jaxconv.corr2d"] == (
        "(x: 'jax.Array | np.ndarray', k: 'jax.Array | np.ndarray', *, method: 'str' = 'auto') "
        "-> 'jax.Array'"
    )


def test_public_functions_are_documented():
    """Formula aside, every public function has arguments, result, errors and an example."""
    for name in jaxconv.__all__:
        function = getattr(jaxconv, name)
        if inspect.isfunction(function):
            for section in ("Args:", "Returns:", "Raises:", "Example:"):
                assert section in (function.__doc__ or ""), f"{name} has no {section}"
