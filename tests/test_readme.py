"""Every Python block of the README runs, and prints what the block of text after it says."""

import contextlib
import functools
import io
import re
from pathlib import Path

import pytest

import jaxconv

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, flags=re.DOTALL)


def printed(code: str) -> str:
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        exec(compile(code, "README.md", "exec"), {})
    return stream.getvalue()


@pytest.mark.parametrize(("code", "output"), BLOCKS, ids=lambda text: text.strip().split("\n")[-1])
def test_prints_what_it_says(code, output, request):
    if "import torch\n" in code:
        request.getfixturevalue("torch")
    assert printed(code) == output


def test_no_block_is_left_out():
    assert len(BLOCKS) == README.count("```python") == 6


def test_the_message_is_the_one_that_is_raised():
    import jax.numpy as jnp

    x, w = jnp.zeros((2, 3, 32, 32)), jnp.zeros((3, 3, 3, 8))
    with pytest.raises(ValueError, match=r"^conv: ") as error:
        jaxconv.conv(x, w)
    assert str(error.value) in README.splitlines()
    assert jaxconv.conv(jnp.moveaxis(x, 1, -1), w).shape == (2, 30, 30, 8)


def test_every_promise_is_a_test():
    rows = README.split("| promise | held by | under FFT |")[1].split("\n\n")[0]
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for row in rows.splitlines()[2:]:
        named = re.findall(r"`(test_\w+)`", row.split("|")[2])
        assert named, row
        for name in named:
            assert f"def {name}(" in tests, name


def test_the_comparison_can_fail():
    assert printed("print(1 + 1)") == "2\n"


def test_it_lists_what_is_public_and_all_that_it_names_is_there():
    table = README[README.index("| call | what it is |") :].split("\n\n")[0]
    calls = "\n".join(line.split("|")[1] for line in table.splitlines())
    named = set(re.findall(r"`(?:jaxconv\.)?(\w+)", calls))
    assert named == set(jaxconv.__all__)
    programs = ("bench", "cli")  # which are run, not imported
    for name in set(re.findall(r"\bjaxconv((?:\.[A-Za-z]\w*)+)", README)):
        if name.split(".")[1] not in programs:
            functools.reduce(getattr, name[1:].split("."), jaxconv)
