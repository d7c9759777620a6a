"""Run the suite on every Python found here, with the oldest and the newest libraries.

    python tests/matrix.py [--python 3.13] [--libraries newest] [-- PYTEST_ARGUMENTS]

`make test-matrix` runs all of it, and in each row what `make test` runs. The oldest libraries are
the lower bounds in pyproject.toml. Each row has an environment of its own, which is kept, in
`.matrix/`; at the end the rows are printed as a table. Exit code 1 if a test failed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
LIBRARIES = ("oldest", "newest")
SHOWN = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "jaxconv-onednn", "torch")
COUNTS = ("passed", "failed", "skipped")


def interpreter(version: str) -> str | None:
    """Return the path of a Python, from PATH or from pyenv, or None."""
    if found := shutil.which(f"python{version}"):
        runs = subprocess.run([found, "-V"], capture_output=True, check=False)
        if runs.returncode == 0:
            return found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    kept = sorted(pyenv.glob(f"{version}.*/bin/python"))
    return str(kept[-1]) if kept else None


def oldest() -> list[str]:
    """Return the lower bounds of what the library and its extras need, as pins."""
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["flax"] + extras["learn"] + extras["tiles"]
    return [requirement.replace(">=", "==") for requirement in wanted]


def environment(version: str, libraries: str, python: str) -> Path:
    """Return the Python of a row's environment, with everything installed."""
    folder = ROOT / ".matrix" / f"{version}-{libraries}"
    inside = folder / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    install = [inside, "-m", "pip", "install", "--quiet"]
    pins = oldest() if libraries == "oldest" else ["--upgrade", "--upgrade-strategy", "eager"]
    subprocess.run([*install, *pins, "-e", ".[test]"], cwd=ROOT, check=True)
    for script in ("tests/install_torch.py", "native/install.py"):
        subprocess.run([inside, script], cwd=ROOT, check=True)
    return inside


def versions(python: Path) -> dict[str, str]:
    """Return the versions of the libraries shown that are installed."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", listed, re.MULTILINE))


def run(python: Path, arguments: list[str]) -> dict[str, int]:
    """Run the suite as `make test` does, and return the tests counted by outcome."""
    found = dict.fromkeys(COUNTS, 0)
    report = python.parents[1] / "report.xml"
    for marked in ("not as_shipped and not thorough", "as_shipped and not thorough"):
        report.unlink(missing_ok=True)
        ways = ["-q", "-n", "2", "--dist", "worksteal", "-m", marked, f"--junit-xml={report}"]
        subprocess.run([python, "-m", "pytest", *ways, *arguments], cwd=ROOT, check=False)
        if not report.exists():
            raise SystemExit(f"{python}: pytest wrote no report")
        (suite,) = xml.etree.ElementTree.parse(report).getroot()
        counted = {name: int(suite.get(name, 0)) for name in ("tests", "errors", "failures")}
        skipped = int(suite.get("skipped", 0))
        failed = counted["errors"] + counted["failures"]
        found["failed"] += failed
        found["skipped"] += skipped
        found["passed"] += counted["tests"] - failed - skipped
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", choices=PYTHONS, action="append")
    parser.add_argument("--libraries", choices=LIBRARIES, action="append")
    parser.add_argument("pytest", nargs="*", metavar="PYTEST_ARGUMENT")
    given = parser.parse_args()
    rows, failed = [], 0
    for version in given.python or PYTHONS:
        python = interpreter(version)
        for libraries in given.libraries or LIBRARIES:
            if python is None:
                rows.append([version, libraries, "not run: this Python is not found"])
                continue
            inside = environment(version, libraries, python)
            known, counts = versions(inside), run(inside, given.pytest)
            failed += counts["failed"]
            names = [known.get(name, "-") for name in SHOWN]
            rows.append([version, libraries, *names, *map(str, counts.values())])
    header = ["Python", "libraries", *SHOWN, *COUNTS]
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(row + [""] * (len(header) - len(row))) + " |")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
