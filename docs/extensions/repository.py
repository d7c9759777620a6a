"""Pages from files outside `docs/`, and links to them.

The pages here are Markdown that reads well in the repository, so they link to files by relative
paths. On the site such a link goes to the page that `PAGES` names.
"""

import os
import re
from pathlib import Path, PurePosixPath

from example_pages import scripts, write_examples
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = DOCS / "generated"
# Markdown outside `docs/` -> its page
COPIED = {
    "examples/README.md": "generated/examples/index",
    "native/README.md": "generated/native",
    "jaxconv/bench/README.md": "generated/measuring",
    "CONTRIBUTING.md": "generated/contributing",
    "CHANGELOG.md": "generated/changelog",
}
PAGES = {
    **COPIED,
    "README.md": "index",
    "findings": "generated/findings",
    **{f"examples/{path.name}": f"generated/examples/{path.stem}" for path in scripts()},
}
SAID = ("Expected:", "Seen:")
FINDINGS = """Errors and surprises in other libraries, each with a script that shows it in an
environment of its own: `bash findings/NAME.sh`."""
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")


def with_links(text: str, folder: str, page: str) -> str:
    """The text of a page, whose links are relative to a folder of the repository."""
    here = PurePosixPath(page).parent

    def turned(match: re.Match) -> str:
        path = os.path.normpath(PurePosixPath(folder, match[1]))
        if path.startswith("docs/"):
            target = path.removeprefix("docs/")
        elif path in PAGES:
            target = f"{PAGES[path]}.md"
        elif path.startswith("findings/") and (ROOT / path).exists():
            target = f"{PAGES['findings']}.md#{anchor(Path(path))}"
        elif path.endswith(".png") and (ROOT / path).exists():
            target = f"../{path}"
        else:
            raise ExtensionError(f"{page} links to {match[1]}, which has no page")
        return os.path.relpath(target, here)

    code = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    code[::2] = [LINK.sub(turned, part) for part in code[::2]]
    return "".join(code)


def anchor(script: Path) -> str:
    """Of a finding, on the page of all."""
    return script.stem.replace("_", "-")


def findings() -> str:
    """The headers of `findings/*.sh`: with what, what was expected, what was seen."""
    rows, parts = [], []
    for script in sorted((ROOT / "findings").glob("*.sh")):
        header = re.match(r"#!.*\n((?:#.*\n)+)", script.read_text())
        if not header:
            raise ExtensionError(f"{script.name} has no header")
        lines = [line[2:] for line in header[1].splitlines()]
        library = lines[0].rstrip(".")
        at = [next(n for n, line in enumerate(lines) if line.startswith(word)) for word in SAID]
        printed = next((n for n, line in enumerate(lines) if line.startswith("  ")), len(lines))
        expected, seen = " ".join(lines[at[0] : at[1]]), " ".join(lines[at[1] : printed])
        rows.append(f"| [{script.stem}](#{anchor(script)}) | {library} |")
        parts += [f"## {script.stem.replace('_', ' ')}\n", f"With {library}.\n"]
        parts += [f"{expected}\n", f"{seen}\n"]
        parts += ["```text", *(line[2:] for line in lines[printed:]), "```\n"]
        parts += [f"The script: `findings/{script.name}`\n"]
    table = "\n".join(["| finding | with |", "|---|---|", *rows])
    return f"# Findings\n\n{FINDINGS}\n\n{table}\n\n" + "\n".join(parts)


def write_pages(app: Sphinx) -> None:
    """Sphinx's event: nothing is read yet."""
    write_examples(GENERATED / "examples")
    for source, page in COPIED.items():
        text = with_links((ROOT / source).read_text(), str(PurePosixPath(source).parent), page)
        if source == "examples/README.md":
            names = "\n".join(path.stem for path in scripts())
            text += f"\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"
        (DOCS / f"{page}.md").write_text(text)
    (GENERATED / "findings.md").write_text(findings())


def turn_links(app: Sphinx, page: str, source: list[str]) -> None:
    """Sphinx's event: a page was read."""
    if not page.startswith("generated/"):
        source[0] = with_links(source[0], f"docs/{PurePosixPath(page).parent}", page)


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx's entry point."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", turn_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
