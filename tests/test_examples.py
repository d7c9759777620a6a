"""Every numbered example runs, checks its numbers and saves the figures that its README lists."""

import re
import runpy
import sys
from pathlib import Path

import jax
import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(FOLDER.glob("[0-9]*.py"))
# Compiled as quickly as all tests are, this one would run for longer than it takes to compile.
AS_USERS_DO = "05_receptive_fields"
README = (FOLDER / "README.md").read_text()
TABLE = [line for line in README.splitlines() if line.startswith("|")]


@pytest.fixture
def as_a_script(monkeypatch):
    """As in a script: its folder on the path, and JAX's default promotion."""
    monkeypatch.syspath_prepend(str(FOLDER))
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.usefixtures("as_a_script")
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(path, marks=[pytest.mark.as_shipped] * (path.stem == AS_USERS_DO))
        for path in SCRIPTS
    ],
    ids=lambda path: path.stem,
)
def test_runs_and_saves_its_figures(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "new")])
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out
    saved = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert saved
    assert all(name.startswith(script.stem[:2]) for name in saved)
    assert [f"figure: {name}" in printed for name in saved] == [True] * len(saved)
    # the README describes each figure
    assert sorted(re.findall(rf"`({script.stem[:2]}_\w+\.png)`", README)) == saved


@pytest.mark.usefixtures("as_a_script")
def test_the_form_prints_its_identities(capsys):
    """Three inner products, one number; the gradient's program has the three contractions."""
    runpy.run_path(str(FOLDER / "the_form.py"), run_name="__main__")
    printed = capsys.readouterr().out
    products = re.findall(r"^<.*> += (.*)$", printed, flags=re.MULTILINE)
    assert len(products) == 3
    assert len(set(products)) == 1
    assert "contractions in the gradient's program: input, kernel, output" in printed


def test_each_is_a_walk_in_cells():
    assert [path.stem[:2] for path in SCRIPTS] == [f"{n:02}" for n in range(1, len(SCRIPTS) + 1)]
    for path in SCRIPTS:
        text = path.read_text()
        assert text.startswith("# %% [markdown]\n# # ")
        assert text.count("\nassert ") + text.count("    assert ") >= 5


def test_the_table_names_what_there_is():
    """No cell is empty, and every named file, module and function exists."""
    assert len(TABLE) > 40
    for line in TABLE:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) in (2, 5), line
        assert all(cells), line
    for script in SCRIPTS:
        assert f"({script.name})" in README
    for path in re.findall(r"\]\((\w+\.py)\)", README):
        assert (FOLDER / path).exists()
    for name in set(re.findall(r"`(jaxconv(?:\.\w+)+)`", README)):
        assert found(name), name


def found(name: str) -> bool:
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            target = __import__(".".join(parts[:split]), fromlist=["_"])
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            target = getattr(target, part, None)
        return target is not None
    return False


def test_a_name_that_is_not_there_is_seen():
    assert found("jaxconv.output_size")
    assert not found("jaxconv.outputs")
