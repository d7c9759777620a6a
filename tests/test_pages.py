"""README and docs/: Python blocks run, links resolve, every public name is listed once."""

import contextlib
import functools
import importlib
import io
import re
import types
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import jax
import pytest
from test_architecture import public_modules

import jaxconv

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
LINKING = [*PAGES, *REFERENCE, ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"]
BLOCK = re.compile(r"```python\n((?:(?!```).)*)```\n\n```text\n(.*?)```", flags=re.DOTALL)
BLOCKS = [(page, *block) for page in PAGES for block in BLOCK.findall(page.read_text())]
TEXT = {page: page.read_text() for page in LINKING}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def printed(code: str) -> str:
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        exec(compile(code, "a page", "exec"), {})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("page", "code", "output"),
    BLOCKS,
    ids=[f"{page.stem}-{code.strip().splitlines()[-1]}" for page, code, _ in BLOCKS],
)
def test_prints_what_it_says(page, code, output, request, monkeypatch, tmp_path):
    if "import torch\n" in code:
        request.getfixturevalue("torch")
    if "import keras\n" in code:
        monkeypatch.setenv("KERAS_BACKEND", "jax")
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        pytest.importorskip("keras", reason="keras is not installed")
    if "import haiku as hk\n" in code:
        pytest.importorskip("haiku", reason="dm-haiku is not installed")
    if re.search("^import cv2$", code, re.MULTILINE):
        pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    # optax's own projections and optimisers promote, as they may outside of these tests
    with jax.numpy_dtype_promotion("standard" if "import optax\n" in code else "strict"):
        assert printed(code) == output


def test_no_block_is_left_out():
    found = Counter(page for page, *_ in BLOCKS)
    assert found == {page: n for page in PAGES if (n := TEXT[page].count("```python"))}
    assert all("```python" not in TEXT[page] for page in REFERENCE)
    assert len(BLOCKS) >= 20


def test_the_comparison_can_fail():
    assert printed("print(1 + 1)") == "2\n"


# Links


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#{1,3} (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(page: Path, text: str) -> list[str]:
    """The links of a page, relative ones, that lead nowhere."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path
        there = target.exists()
        if there and anchor:
            there = anchor in anchors(target.read_text() if path else text)
        if not there:
            found.append(link)
    return found


@pytest.mark.parametrize("page", LINKING, ids=name_of)
def test_links_resolve(page):
    assert broken(page, TEXT[page]) == []


def test_a_broken_link_is_seen():
    text = "# Here\n[a](#here) [b](#there) [c](none.md) [d](docs/start.md#two-commands) "
    text += "[e](docs/start.md#no)"
    assert broken(README, text) == ["#there", "none.md", "docs/start.md#no"]


def test_every_example_is_linked():
    """The site takes its title from the link."""
    text = (ROOT / "examples" / "README.md").read_text()
    scripts = {path.name for path in (ROOT / "examples").glob("*.py") if path.name[0] != "_"}
    assert scripts == set(re.findall(r"\]\((\w+\.py)\)", text))


def test_every_page_is_in_a_table_of_contents():
    index = TEXT[ROOT / "docs" / "index.md"]
    listed = re.findall(r"^(?:\w+ <)?(\w+)>?$", index, flags=re.MULTILINE)
    assert set(listed) == {page.stem for page in PAGES[1:]} - {"index"}
    index = TEXT[ROOT / "docs" / "reference" / "index.md"]
    listed = re.findall(r"^(\w+)$", index.split("```{toctree}")[1], flags=re.MULTILINE)
    assert sorted(listed) == sorted(page.stem for page in REFERENCE if page.stem != "index")


# Names


def public_names() -> dict[str, str]:
    """The name nearest to the top of each public object, by all its public names."""
    first: dict[int | str, str] = {}
    names = {}
    for module in ["jaxconv", *(f"jaxconv.{name}" for name in sorted(public_modules()))]:
        room = importlib.import_module(module)
        for name in room.__all__:
            thing = getattr(room, name)
            if not isinstance(thing, types.ModuleType):
                full = f"{module}.{name}"
                # numbers are the same object wherever they have the same value
                same = full if isinstance(thing, int) else id(thing)
                names[full] = first.setdefault(same, full)
    return names


def test_the_reference_has_every_public_name_once():
    text = "\n".join(TEXT[page] for page in REFERENCE)
    # numbers, which have no docstrings, are listed with their values
    directive = r"^\.\. (?:auto(?:function|class|data)|py:data):: (\S+)$"
    listed = re.findall(directive, text, flags=re.MULTILINE)
    assert [name for name, count in Counter(listed).items() if count > 1] == []
    assert set(listed) == set(public_names().values())
    values = re.findall(r"^\.\. py:data:: jaxconv\.(\S+)\n   :value: (\S+)$", text, re.MULTILINE)
    assert len(values) == text.count(".. py:data::")
    for name, value in values:
        assert repr(functools.reduce(getattr, name.split("."), jaxconv)) == value
    modules = re.findall(r"^\.\. automodule:: (\S+)$", text, flags=re.MULTILINE)
    # `compat` and `compat.scipy` hold modules only
    holding = {name.rpartition(".")[0] for name in public_names()}
    assert sorted(modules) == sorted(holding)


def test_a_name_that_is_public_twice_is_listed_at_the_top():
    names = public_names()
    assert names["jaxconv.analysis.receptive_field"] == "jaxconv.receptive_field"
    assert names["jaxconv.parallel.conv"] == "jaxconv.parallel.conv"


def test_the_calls_are_what_is_public():
    text = TEXT[ROOT / "docs" / "start.md"]
    table = text[text.index("| call | what it is |") :].split("\n\n")[0]
    calls = "\n".join(line.split("|")[1] for line in table.splitlines())
    named = set(re.findall(r"`(?:jaxconv\.)?(\w+)", calls))
    assert named == set(jaxconv.__all__)


@pytest.mark.parametrize("page", LINKING, ids=name_of)
def test_all_names_are_there(page):
    programs = ("bench", "cli", "methods")  # which are run, not imported; a group of entry points
    names = set(re.findall(r"\bjaxconv\.([A-Za-z]\w*(?:\.[A-Za-z]\w*)*)", TEXT[page]))
    wanted = {name for name in names if name.split(".")[0] not in programs}
    assert {name for name in wanted if not is_there(name)} == set()


def is_there(name: str) -> bool:
    try:
        functools.reduce(getattr, name.split("."), jaxconv)
    except AttributeError:
        return False
    return True


def test_a_name_that_is_not_there_is_seen():
    assert is_there("learn.fit_kernel")
    assert not is_there("learn.fit_nothing")


# Statements


def test_the_message_is_the_one_that_is_raised():
    import jax.numpy as jnp

    x, w = jnp.zeros((2, 3, 32, 32)), jnp.zeros((3, 3, 3, 8))
    with pytest.raises(ValueError, match=r"^conv: ") as error:
        jaxconv.conv(x, w)
    assert str(error.value) in TEXT[ROOT / "docs" / "start.md"].splitlines()
    assert jaxconv.conv(jnp.moveaxis(x, 1, -1), w).shape == (2, 30, 30, 8)


def test_every_promise_is_a_test():
    text = TEXT[ROOT / "docs" / "methods.md"]
    rows = text.split("| promise | held by | under FFT |")[1].split("\n\n")[0]
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for row in rows.splitlines()[2:]:
        named = re.findall(r"`(test_\w+)`", row.split("|")[2])
        assert named, row
        for name in named:
            assert f"def {name}(" in tests, name


def test_the_methods_are_those_of_the_package():
    from jaxconv._core.methods import METHODS

    text = TEXT[ROOT / "docs" / "methods.md"]
    table = text.split("| method | how it computes |\n|---|---|\n")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == sorted(METHODS)


def test_the_short_table_of_speed_is_part_of_the_long_ones():
    """The README repeats some rows of `docs/performance.md`."""
    table = TEXT[README].split("## Speed\n")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) > 3
    assert set(rows) <= set(TEXT[ROOT / "docs" / "performance.md"].splitlines())
