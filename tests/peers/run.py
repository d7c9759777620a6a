"""Run SciPy's own tests against `jaxconv.compat.scipy`, and ONNX's, and count what passes.

    python tests/peers/run.py              a seeded sample (`make test` runs a smaller one)
    python tests/peers/run.py --whole      every case (what `make test-peers` runs)
    python tests/peers/run.py --whole --markdown docs/replacements.md
    python tests/peers/run.py --whole --part lines -k TestUpfirdn

Each part is a process of its own, so that two can run at once and the compiled programs of one part
do not fill the memory of the next. The exit code is 1 where a case fails.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
SIGNAL = "scipy.signal.tests.test_signaltools"
DESIGN = tuple(
    f"scipy.signal.tests.{name}"
    for name in ("test_upfirdn", "test_savitzky_golay", "test_fir_filter_design", "test_windows")
)
LINES = (
    "TestUpfirdn or TestResample or TestDecimate or test_sg or TestLinearFilter or TestFiltFilt or "
    "TestWiener or TestHilbert or TestFirwin or TestFirWinMore or TestGetWindow"
)

# part -> (modules, -k expression, one in N of its cases in the sample, processes for the whole)
PARTS = {
    "arrays": (
        (SIGNAL, "scipy.signal.tests.test_bsplines"),
        f"not TestOAConvolve and not many_sizes and not test_convolve_method and not ({LINES})",
        16,
        1,
    ),
    "lines": ((SIGNAL, *DESIGN), LINES, 40, 1),
    "sizes": ((SIGNAL,), "many_sizes or test_convolve_method", 100, 2),
    "overlap-add": ((SIGNAL,), "TestOAConvolve", 400, 16),
    "filters": (("scipy.ndimage.tests.test_filters",), "TestNdimageFilters", 40, 1),
}


def run_parts(
    *names: str,
    whole: bool = False,
    shard: str = "0/1",
    limit: int = 7200,
    expression: str | None = None,
    plugin: Path | None = None,
) -> tuple[list[dict], str]:
    """Run parts in one process; return what happened to each case, and the output.

    `expression` narrows them, and `plugin` is one more pytest plugin to load. A sample of
    several parts is as small as the smallest of them.
    """
    parts = [PARTS[name] for name in names]
    modules = dict.fromkeys(module for part in parts for module in part[0])
    expression = expression or " or ".join(f"({part[1]})" for part in parts)
    one_in = max(part[2] for part in parts)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "-p", "scipy_plugin", "-p", "no:cacheprovider"]
        command += ["-p", "no:randomly", "-q", "--no-header", "--tb=short", "--report", str(report)]
        command += ["--one-in", str(1 if whole else one_in), "--shard", shard, "-k", expression]
        command += ["--pyargs", *modules]
        paths = [HERE.parent.parent, HERE]
        if plugin:
            command[3:3] = ["-p", plugin.stem]
            paths.append(plugin.parent)
        path = os.pathsep.join(map(str, paths))
        environment = {**os.environ, "PYTHONPATH": path, "JAX_ENABLE_X64": "1"}
        environment.pop("PYTEST_ADDOPTS", None)
        if not whole:
            environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # most of the time is LLVM's
        done = subprocess.run(
            command,
            cwd=folder,  # away from this project's own pytest settings
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
        # 0: all passed, 1: some failed; anything else (an import that failed) ran nothing
        if done.returncode not in (0, 1) or not report.exists():
            raise RuntimeError(
                f"{' '.join(names)}: not run\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        return json.loads(report.read_text()), done.stdout


def run_onnx() -> list[dict]:
    """Run ONNX's own cases of convolution and return what happened to each."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-k", "test_case", f"--junitxml={report}"]
        file = HERE.parent / "test_onnx_suite.py"
        done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1) or not report.exists():
            raise RuntimeError(f"onnx: not run\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        found = []
        for case in ElementTree.parse(report).iter("testcase"):
            name = case.attrib["name"].removeprefix("test_case[").removesuffix("]")
            outcome = "failed" if len(case) else "passed"
            found.append({"suite": f"ONNX {name.split()[0]}", "case": name, "outcome": outcome})
        return found


def table(cases: list[dict]) -> list[tuple[str, int, int, int, int]]:
    """(suite, cases that are ours, passed, failed, not run), in order of appearance.

    What SciPy itself expects to fail (xfail) or skips is not run; a case that calls none of our
    functions is not counted at all.
    """
    suites: dict[str, Counter] = defaultdict(Counter)
    for case in cases:
        suites[case["suite"]][case["outcome"]] += 1
    rows = []
    for suite, outcomes in suites.items():
        outcomes.pop("not ours", 0)
        gone = outcomes["left out"] + outcomes["skipped"]
        total = sum(outcomes.values())
        rows.append((suite, total, outcomes["passed"], outcomes["failed"], gone))
    return rows


def reasons(cases: list[dict]) -> list[tuple[str, str]]:
    """(case, reason) of what was not run."""
    return [
        (case["case"], case["reason"].strip().splitlines()[-1])
        for case in cases
        if case["outcome"] in ("left out", "skipped")
    ]


def markdown(cases: list[dict]) -> str:
    lines = ["| suite | cases | passed | left out |", "|---|---|---|---|"]
    rows = table(cases)
    lines += [f"| {suite} | {n:,} | {passed:,} | {gone} |" for suite, n, passed, _, gone in rows]
    total = [sum(column) for column in list(zip(*rows, strict=True))[1:]]
    lines.append(f"| all | {total[0]:,} | {total[1]:,} | {total[3]} |")
    lines += ["", "Left out:", ""]
    names: dict[str, list[str]] = defaultdict(list)
    for case, reason in reasons(cases):
        names[reason].append(f"`{case}`")
    lines += [f"- {', '.join(listed)}: {reason}" for reason, listed in names.items()]
    return "\n".join(lines) + "\n"


def put(path: Path, text: str) -> None:
    """Write the table between a file's two marks, in the place of the one before."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{path} has no lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whole", action="store_true", help="every case, not a sample")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part")
    parser.add_argument("-k", dest="expression", help="of one part, only what pytest selects by it")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, default=7200, help="seconds a part may take")
    parser.add_argument(
        "--markdown", type=Path, help="put the table between the marks of this file"
    )
    given = parser.parse_args(argv)
    names = given.part or list(PARTS)
    jobs = []
    for name in names:
        shards = PARTS[name][-1] if given.whole else 1
        jobs += [(name, f"{shard}/{shards}") for shard in range(shards)]

    def run(job: tuple[str, str]) -> tuple[list[dict], str]:
        how = {"whole": given.whole, "shard": job[1], "expression": given.expression}
        found, output = run_parts(job[0], limit=given.limit, **how)
        done = Counter(case["outcome"] for case in found)
        print(f"{job[0]} {job[1]}: {dict(done)}", file=sys.stderr, flush=True)
        return found, output

    with ThreadPoolExecutor(given.workers) as pool:
        parts = list(pool.map(run, jobs))
    cases = [] if given.expression else run_onnx()
    cases += [case for found, _ in parts for case in found]
    failed = [case["case"] for case in cases if case["outcome"] == "failed"]
    if failed:
        print(*(output for _, output in parts), sep="\n")
    print(f"{'suite':36} {'cases':>6} {'passed':>6} {'failed':>6} {'left out':>8}")
    for suite, *numbers in table(cases):
        print("{:36} {:6} {:6} {:6} {:8}".format(suite, *numbers))
    for case, reason in reasons(cases):
        print(f"left out: {case}: {reason}")
    if given.markdown:
        put(given.markdown, markdown(cases))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
