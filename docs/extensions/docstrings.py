"""Docstrings as reStructuredText: they are written in plain text, with Markdown's tables and code.

* An indented block, and a paragraph that begins with `name[...] = `, is code.
* `name` is a link where it is a public name and no parameter of the function, otherwise code.
* Asterisks and bars mean themselves: `(*batch, *space, in)`, `|x| |w|`.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import signature, stringify_signature

REFERENCE = Path(__file__).parents[1] / "reference"
SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Example|Source):$")
FORMULA = re.compile(r"[A-Za-z]\w*'?(\[[^\]]*\]|\([^)]*\))?( \w+)? = ")
RULE = re.compile(r"\|[-:|]+\|")
MARKUP = re.compile(
    r"(?P<kept>^\s*\* |(?<!\S)\*\*\w[\w ]*\*\*)|\*|(?<=\w)_(?!\w)|\|", flags=re.MULTILINE
)

Inline = Callable[[str], str]


@functools.cache
def documented() -> set[str]:
    """The names that the pages of the reference list."""
    text = "\n".join(page.read_text() for page in REFERENCE.glob("*.md"))
    return set(re.findall(r"^\.\. auto\w+:: (\S+)", text, flags=re.MULTILINE))


def blocks(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines without an empty one; an empty block for each empty line."""
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line.rstrip())
            continue
        if block:
            yield block
        yield []
        block = []
    if block:
        yield block


def indent(line: str) -> int:
    """The number of spaces a line begins with."""
    return len(line) - len(line.lstrip())


def literal(block: list[str], margin: int) -> list[str]:
    """A literal block at a margin."""
    least = min(map(indent, block))
    return [" " * margin + "::", "", *(" " * (margin + 4) + line[least:] for line in block)]


def table(rows: list[str], inline: Inline) -> list[str]:
    """A Markdown table as a list-table; an empty first row is no header."""
    margin = " " * indent(rows[0])
    # a bar inside code, or escaped, does not end a cell
    cells = [re.findall(r"(?:`[^`]*`|\\\||[^|`])+", row.strip()[1:-1]) for row in rows]
    head, _, *body = [[inline(cell.strip()) for cell in row] for row in cells]
    header = any(head)
    lines = [".. list-table::", f"   :header-rows: {int(header)}", ""]
    for row in [head, *body] if header else body:
        lines += [f"   {'* -' if n == 0 else '  -'} {cell}" for n, cell in enumerate(row)]
    return [margin + line if line else "" for line in lines]


def converted(lines: list[str], inline: Inline) -> list[str]:
    """The docstring as reStructuredText; Google's sections are left to napoleon."""
    result: list[str] = []
    section = False
    for block in blocks(lines):
        if not block:
            result.append("")
            continue
        if SECTION.match(block[0]):
            section = True
            result.append(block[0])
            block = block[1:]
            if not block:
                continue
        elif indent(block[0]) == 0:
            section = False
        margin = 4 if section else 0
        first = block[0]
        rule = next((n for n, line in enumerate(block) if RULE.fullmatch(line.strip())), 0)
        if first.lstrip().startswith(">>>"):
            result += block
        elif indent(first) > margin and result and result[-1] == "":
            result += literal(block, margin)
        elif rule:
            before = inline("\n".join(block[: rule - 1])).split("\n")
            result += [*before, "", *table(block[rule - 1 :], inline), ""]
        elif not section and FORMULA.match(first) and "`" not in "".join(block):
            result += literal(block, margin)
        else:
            result += inline("\n".join(block)).split("\n")
    return result


def inline_for(name: str, thing: Any, public: set[str]) -> Inline:
    """What turns the text of one docstring, of the object with that public name."""
    modules = {full.rpartition(".")[0] for full in public}
    module = name
    while module and module not in modules:
        module = module.rpartition(".")[0]
    try:
        parameters = set(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        parameters = set()

    def span(match: re.Match) -> str:
        code = " ".join(match[1].split())
        for full in (code, f"{module}.{code}"):
            if full in public and code not in parameters and full != name:
                return f":py:obj:`{code} <{full}>`"
        return f"``{code}``"

    def inline(text: str) -> str:
        parts = re.split(r"(`[^`]+`)", text)
        for n, part in enumerate(parts):
            if n % 2:
                parts[n] = re.sub(r"`([^`]+)`", span, part)
                if n + 1 < len(parts) and re.match(r"\w", parts[n + 1]):
                    parts[n] += "\\ "  # as in `n`th
            else:
                parts[n] = MARKUP.sub(lambda m: m["kept"] or f"\\{m[0]}", part)
        return "".join(parts)

    return inline


def convert(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's event: a docstring was read, napoleon has not seen it yet."""
    lines[:] = converted(list(lines), inline_for(name, thing, documented()))


def sign(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, arguments: str | None, result: Any
) -> tuple[str, Any] | None:
    """Sphinx's event: the signature of an object, as text, was read."""
    if not arguments:
        return None
    if what == "class" and arguments == "(*args, **kwargs)":  # of the metaclass of NNX
        arguments = stringify_signature(
            signature(thing.__init__, bound_method=True), show_annotation=False
        )
    # initialisers and sentinels, which have no short text
    return re.sub(r"<(?:[^<>]|<\w+>)*>", "...", arguments), result


def leave_out(
    app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
    """Sphinx's event: the fields of named tuples have a docstring of Python's."""
    return True if (thing.__doc__ or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx's entry point."""
    app.connect("autodoc-process-docstring", convert, priority=400)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-skip-member", leave_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
