"""The examples as pages: text, code, what it printed, and the figures that it drew."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from run_cells import cells

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
# Scripts that run while the site is built, and the modules without which they do not; besides them
# all in percent format, except measurements.
RUN = {
    "compare_with_torch": ["torch"],
    "lenet_beside_torch": ["torch", "sklearn"],
    "scaling": [],
}
MEASUREMENTS = ["benchmark_gradients"]


def scripts() -> list[Path]:
    """All examples, without their helpers."""
    return sorted(path for path in EXAMPLES.glob("*.py") if not path.stem.startswith("_"))


def runs(script: Path) -> bool:
    """Whether the script runs here while the site is built."""
    if script.stem in RUN:
        return all(importlib.util.find_spec(name) for name in RUN[script.stem])
    return bool(cells(script.read_text())) and script.stem not in MEASUREMENTS


def outputs(script: Path, folder: Path) -> list[str]:
    """What the cells print; they run only if the code is newer than what is there."""
    kept = folder / "outputs.json"
    sources = [script, *EXAMPLES.glob("_*.py"), *(ROOT / "jaxconv").rglob("*.py")]
    if not kept.exists() or kept.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(Path(__file__).with_name("run_cells.py"))]
        done = subprocess.run(
            [*command, str(script), str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{script.name} failed\n{done.stdout}{done.stderr}")
    return json.loads(kept.read_text())


def captions() -> dict[str, str]:
    """The table of figures in `examples/README.md`."""
    rows = re.findall(r"^\| `(\w+\.png)` \| (.*) \|$", (EXAMPLES / "README.md").read_text(), re.M)
    return dict(rows)


def title(script: Path) -> str:
    """The text of the link to a script in `examples/README.md`."""
    found = re.search(rf"\[([^\]]+)\]\({script.name}\)", (EXAMPLES / "README.md").read_text())
    if not found:
        raise RuntimeError(f"examples/README.md has no link to {script.name}")
    name = " ".join(found[1].split())
    return name[0].upper() + name[1:]


def shown(printed: str, stem: str) -> str:
    """The output of a cell as a block of text, and its figures."""
    figures = re.findall(r"^figure: (.*)$", printed, flags=re.MULTILINE)
    text = re.sub(r"^figure: .*\n", "", printed, flags=re.MULTILINE)
    parts = [f"```text\n{text}```\n"] if text.strip() else []
    parts += [f"![{captions()[name]}]({stem}/{name})\n" for name in figures]
    return "\n".join(parts)


def walk(script: Path, printed: list[str] | None) -> str:
    """A script in percent format: its cells in order."""
    remaining, parts = iter(printed or []), []
    for code, source in cells(script.read_text()):
        if not code:
            parts.append(source)
            continue
        parts.append(f"```python\n{source}```\n")
        parts.append(shown(next(remaining, ""), script.stem))
    return "\n".join(part for part in parts if part)


def program(script: Path, printed: list[str] | None) -> str:
    """A script with a docstring: that, what it printed, its code."""
    text = script.read_text()
    told = ast.get_docstring(ast.parse(text)) or ""
    first, _, rest = told.partition("\n")
    code = text.split('"""', 2)[2].lstrip()
    parts = [f"# {title(script)}\n", f"{first}\n{rest}\n"]
    if printed:
        parts += ["## What it prints\n", shown(printed[0], script.stem)]
    return "\n".join([*parts, f"## {script.name}\n", f"```python\n{code}```\n"])


def write_examples(folder: Path) -> None:
    """Write a page for each example."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(script: Path) -> None:
        printed = outputs(script, folder / script.stem) if runs(script) else None
        kind = walk if cells(script.read_text()) else program
        (folder / f"{script.stem}.md").write_text(kind(script, printed))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, scripts()))
