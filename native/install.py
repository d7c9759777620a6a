"""Build the plugin and install it into the running Python, if that is possible here.

    .venv/bin/python native/install.py

Always ends with exit code 0 and one line with the outcome. The plugin is built again only if the
sources, jax or Python have changed.
"""

import hashlib
import platform
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
STAMP = Path(sysconfig.get_path("purelib")) / "jaxconv_onednn" / ".built"


def fingerprint() -> str:
    """Return a hash of the plugin's sources and of the versions it is built with."""
    digest = hashlib.sha256(f"{version('jax')} {sys.version}".encode())
    files = ("pyproject.toml", "CMakeLists.txt", "kernels.cmake", "find_onednn.py")
    sources = [HERE / name for name in files]
    for path in [*sources, *HERE.glob("src/*"), *HERE.glob("jaxconv_onednn/*.py")]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def reason_not_to_build() -> str | None:
    """Return why the plugin cannot be built here, or None."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"it is for Linux on x86-64, not {platform.system()} on {platform.machine()}"
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return "there is no C++ compiler"
    return None


def main() -> str:
    """Install the plugin if that is possible and needed; return the outcome in one line."""
    if reason := reason_not_to_build():
        return f"going on without oneDNN: {reason}"
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return "the oneDNN plugin is up to date"
    command = [sys.executable, "-m", "pip", "install", "--quiet", str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        last = next((line for line in lines if "error" in line.lower()), "pip gave no reason")
        return f"going on without oneDNN: it did not build ({last.strip()})"
    STAMP.write_text(wanted)
    return "the oneDNN plugin is built and installed"


if __name__ == "__main__":
    print(main())
