"""Install torch, which some tests compare with, where pip finds a build for CPUs alone.

    .venv/bin/python tests/install_torch.py

On Linux the builds of PyPI need CUDA's libraries, several GB. Always ends with exit code 0 and one
line with the outcome; tests that need torch are skipped where it is not installed.
"""

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())
(TORCH,) = PROJECT["project"]["optional-dependencies"]["torch"]


def resolved() -> dict[str, str] | None:
    """Return the names and versions that pip would install, or None if it finds none."""
    wanted = [TORCH, "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command = [sys.executable, "-m", "pip", "install", *wanted]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        return None
    packages = [entry["metadata"] for entry in json.loads(found.stdout)["install"]]
    return {package["name"]: package["version"] for package in packages}


def main() -> str:
    """Install torch, if it can be had without CUDA, and return the outcome."""
    if importlib.util.find_spec("torch"):
        return "torch is installed"
    packages = resolved()
    if packages is None:
        return f"torch is not installed: pip finds no {TORCH}"
    cuda = sum(name.startswith(("nvidia-", "cuda-", "triton")) for name in packages)
    if cuda:
        return (
            f"torch is not installed: {TORCH} brings {cuda} packages of CUDA here; "
            "pytorch.org says how to install a build for CPUs"
        )
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", TORCH], check=True)
    return f"torch {packages['torch']} is installed"


if __name__ == "__main__":
    print(main())
