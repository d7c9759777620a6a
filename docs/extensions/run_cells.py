"""Run one example cell by cell, in a process of its own: `run_cells.py SCRIPT FOLDER`.

The figures go to the folder, with `outputs.json`: what each cell printed, in order. A script that
is not in percent format is one cell.
"""

import contextlib
import io
import json
import re
import sys
from pathlib import Path


def cells(text: str) -> list[tuple[bool, str]]:
    """Whether it is code, and the source, of each cell of a script in percent format."""
    parts = re.split(r"^# %%(.*)\n", text, flags=re.MULTILINE)[1:]
    found = []
    for kind, source in zip(parts[::2], parts[1::2], strict=True):
        code = "[markdown]" not in kind
        if not code:
            source = re.sub(r"^# ?", "", source, flags=re.MULTILINE)
        found.append((code, source.strip("\n") + "\n"))
    return found


def main(script: Path, folder: Path) -> None:
    """Run the code of a script, and write what it printed."""
    text = script.read_text()
    # `_figures` takes a folder; other scripts have arguments of their own, or none
    sys.argv = [str(script), *([str(folder)] if "_figures" in text else [])]
    sys.path.insert(0, str(script.parent))
    scope = {"__name__": "__main__", "__file__": str(script)}
    outputs = []
    for source in [source for code, source in cells(text) if code] or [text]:
        stream = io.StringIO()
        with contextlib.redirect_stdout(stream):
            exec(compile(source, str(script), "exec"), scope)
        outputs.append(stream.getvalue())
    (folder / "outputs.json").write_text(json.dumps(outputs))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
