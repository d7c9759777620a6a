"""The results of a run: facts of the machine, a table, limits and cases above them, JSON."""

import datetime
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from jaxconv._core.machine import cores, cpu_flags, version
from jaxconv.bench import devices
from jaxconv.bench.numerics import FLOAT32, Precision
from jaxconv.bench.peers import OURS, PEERS

_PACKAGES = (
    *("jaxconv", "jaxconv-onednn", "jax", "jaxlib", "flax", "numpy", "torch", "scipy"),
    "opencv-python-headless",
)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A goal: the largest ratio of our time to a peer's, case by case or as a geometric mean.

    Attributes:
        peer: the peer whose best time is compared.
        with_plugin: the largest ratio with the oneDNN plugin, None if there is no goal.
        without: the largest ratio without the plugin.
        mean: whether it limits the geometric mean, not every case.
        suite: of the cases, None for all.
        mode: of the cases, None for both.
        case: prefixes of the cases' names.
        platform: where the goal is set.
    """

    peer: str
    with_plugin: float | None
    without: float | None
    mean: bool = False
    suite: str | None = None
    mode: str | None = None
    case: tuple[str, ...] = ("",)
    platform: str = "cpu"

    def holds_for(self, record: Mapping[str, Any]) -> bool:
        """Whether a case is subject to the limit, and was measured beside the peer."""
        return (
            self.peer in record["ratios"]
            and self.suite in (None, record["suite"])
            and self.mode in (None, record["mode"])
            and record["case"].startswith(self.case)
        )

    @property
    def name(self) -> str:
        """The limit in words."""
        about = [self.suite or "all suites", *([self.mode] if self.mode else [])]
        about += [f"{' '.join(self.case)} only"] if self.case != ("",) else []
        of = "geometric mean" if self.mean else "every case"
        return f"{', '.join(about)}: {of} beside {self.peer}"


def _gpu_limit(peer: str, ratio: float, **of: Any) -> Limit:
    """Return a goal on GPUs, set for an H100; the plugin has no part in it."""
    return Limit(peer=peer, with_plugin=ratio, without=ratio, platform="gpu", **of)


def _step_limit(mode: str, peer: str, with_plugin: float, *, mean: bool = True) -> Limit:
    goal = {"with_plugin": with_plugin, "without": None}
    return Limit(peer=peer, **goal, mean=mean, suite="steps", mode=mode)


LIMITS = (
    Limit(peer="lax", with_plugin=1.05, without=1.05),
    Limit(
        peer="lax",
        with_plugin=0.12,
        without=0.3,
        mean=True,
        suite="networks",
        mode="forward+backward",
    ),
    Limit(peer="torch", with_plugin=1.15, without=None),
    Limit(peer="torch", with_plugin=0.7, without=1.5, mean=True),
    Limit(peer="opencv", with_plugin=1.2, without=1.2, suite="filters"),
    Limit(peer="opencv", with_plugin=1.0, without=1.0, suite="filters", case=("31x31", "64x64")),
    Limit(
        peer="torch", with_plugin=1 / 30, without=1 / 30, suite="learn", case=("ten steps, one",)
    ),
    _step_limit("training step", "torch", 0.8),
    _step_limit("training step", "torch", 1.0, mean=False),
    _step_limit("training step", "lax", 0.1),
    _step_limit("inference", "torch", 0.8),
    _step_limit("bfloat16 training step", "torch", 0.8),
    _gpu_limit("lax", 1.05),
    _gpu_limit("lax", 0.3, mean=True, suite="known"),
    _gpu_limit("torch", 1.0, mean=True, suite="known"),
)
COMPILE_FACTOR, COMPILE_SECONDS = 1.5, 0.05
MEMORY, MEMORY_BESIDE_LAX = 2.0, 1.0


def machine(
    threads: Mapping[str, int] | None = None, precision: Precision = FLOAT32
) -> dict[str, Any]:
    """Return facts of the machine: versions, cores, CPU flags, device, precision, date.

    Args:
        threads: of each peer; None where XLA runs alone.
        precision: of the run.
    """
    versions = {package: version(package) for package in _PACKAGES}
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "versions": {package: found for package, found in versions.items() if found},
        "architecture": platform.machine(),
        "cpu_flags": cpu_flags(),
        "cores": cores(),
        "threads": dict(threads or {"xla": cores()}),
        "precision": precision.name,
        "tolerance": precision.tolerance,
        **devices.facts(torch="torch" in (threads or {})),
    }


def has_plugin() -> bool:
    """Whether the oneDNN plugin is installed, so that the limits `with_plugin` apply."""
    return version("jaxconv-onednn") is not None


def summary(
    records: Sequence[Mapping[str, Any]], *, plugin: bool, platform: str = "cpu"
) -> dict[str, Any]:
    """Geometric means, the worst case beside each peer, and each limit with the cases above it.

    The limits are goals on CPUs and GPUs; those of compile time and memory are for CPUs.
    """
    groups = {}
    for suite, mode in dict.fromkeys((r["suite"], r["mode"]) for r in records):
        of = [r["ratios"] for r in records if (r["suite"], r["mode"]) == (suite, mode)]
        groups[f"{suite}, {mode}"] = _means(of)
    worst = {}
    for peer in PEERS:
        beside = [r for r in records if peer in r["ratios"]]
        if beside:
            case = max(beside, key=lambda r: r["ratios"][peer])
            worst[peer] = {"case": title(case), "ratio": case["ratios"][peer]}
    return {
        "cases": len(records),
        "geometric_means": groups | {"all": _means([r["ratios"] for r in records])},
        "worst": worst,
        "limits": [
            *_time_limits(records, plugin, platform),
            *(_other_limits(records) if platform == "cpu" else []),
        ],
        "not_right": {
            title(r) if label == OURS else f"{title(r)}, {label}": found["left_out"]
            for r in records
            for label, found in r["contestants"].items()
            if label.startswith(OURS) and _is_wrong(found["left_out"])
        },
    }


def _is_wrong(left_out: str | None) -> bool:
    return left_out is not None and left_out.startswith(("wrong", "failed"))


def _means(ratios: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {
        peer: {"ratio": geometric_mean(of), "worst": max(of), "cases": len(of)}
        for peer in PEERS
        if (of := [case[peer] for case in ratios if peer in case])
    }


def _time_limits(
    records: Sequence[Mapping[str, Any]], plugin: bool, platform: str
) -> list[dict[str, Any]]:
    found = []
    for limit in LIMITS:
        if limit.platform != platform:
            continue
        bound = limit.with_plugin if plugin else limit.without
        ratios = [r["ratios"][limit.peer] for r in records if limit.holds_for(r)]
        if bound is None or not ratios:
            continue
        values = [geometric_mean(ratios)] if limit.mean else ratios
        found.append(_limit(limit.name, bound, values))
    return found


def _other_limits(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    excess = [
        (r["compile"]["ours"] - COMPILE_SECONDS) / r["compile"]["lax"]
        for r in records
        if r["compile"]["ours"] is not None and r["compile"]["lax"]
    ]
    if excess:
        found.append(_limit("compile time less 50 ms beside lax", COMPILE_FACTOR, excess))
    shares = [
        r["memory"]
        for r in records
        if r["memory"] is not None and "fft" not in " ".join(r["methods"].values())
    ]
    if shares:
        name = "temporary memory, shares of the larger of input and output, without FFT"
        found.append(_limit(name, MEMORY, shares))
    beside = [r["memory beside lax"] for r in records if r.get("memory beside lax") is not None]
    if beside:
        name = "steps: temporary memory beside plain Flax"
        found.append(_limit(name, MEMORY_BESIDE_LAX, beside))
    return found


def _limit(name: str, bound: float, values: Sequence[float]) -> dict[str, Any]:
    return {
        "limit": name,
        "at_most": bound,
        "worst": max(values),
        "of": len(values),
        "exceeded": sum(value > bound for value in values),
    }


def title(record: Mapping[str, Any]) -> str:
    """Case and mode."""
    return f"{record['case']}, {record['mode']}"


def line(record: Mapping[str, Any]) -> str:
    """Case, our milliseconds and the ratios, in one line."""
    ours = record["contestants"][OURS]
    ratios = ", ".join(f"{ratio:.3f} of {peer}" for peer, ratio in record["ratios"].items())
    time = ours["left_out"] or f"{milliseconds(ours['seconds'])} ms"
    return f"{title(record)}: {time}{', ' * bool(ratios)}{ratios}"


def print_machine(console: Console, facts: Mapping[str, Any]) -> None:
    """Print the facts of the machine."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    many = f"{facts['devices']} devices" if facts["devices"] > 1 else "1 device"
    lines = [
        f"{facts['platform']} ({facts['device_kind']}), {many}, {facts['precision']}, "
        f"{facts['date']}, {facts['cores']} cores [{' '.join(facts['cpu_flags'])}], threads "
        f"{facts['threads']}"
    ]
    if facts["platform"] != "cpu":
        lines.append(f"runtime: {facts['runtime']}")
    console.print("\n".join([*lines, versions, ""]), markup=False, soft_wrap=True)


def table(records: Sequence[Mapping[str, Any]]) -> Table:
    """Our milliseconds, and as a share of each peer's best; compile times; memory."""
    peers = [peer for peer in PEERS if any(peer in r["best"] for r in records)]
    made = Table("case", "methods", box=box.SIMPLE_HEAD)
    beside = any("memory beside lax" in r for r in records)
    memory = "memory / lax" if beside else "memory"
    for column in ("ms", *(f"/ {peer}" for peer in peers), "compile", "lax's", memory):
        made.add_column(column, justify="right")
    for r in records:
        share = r["memory beside lax" if beside else "memory"]
        end = [milliseconds(r["compile"]["lax"]), "-" if share is None else f"{share:.2f}"]
        for label, methods in r.get("ways", {OURS: r["methods"]}).items():
            # those of one method are not compared in memory: the JSON has theirs
            first = label == OURS
            row = [title(r) if first else "", _names(label, methods), *_times(r, label, peers)]
            made.add_row(*row, *(end if first else ["", ""]))
    return made


def _names(label: str, methods: Mapping[str, str]) -> str:
    """The methods of a row; of one that was forced by "every", its name first."""
    taken = " ".join(dict.fromkeys(" ".join(methods.values()).split()))
    return taken if label == OURS else f"{label.removeprefix(OURS).strip()}: {taken}"


def _times(record: Mapping[str, Any], label: str, peers: Sequence[str]) -> list[str]:
    """Milliseconds of a contestant of ours, as shares of each peer's best, and of compilation."""
    ours = record["contestants"][label]
    seconds, best = ours["seconds"], record["best"]
    of_dispatch = "*" if ours.get("bound_by_dispatch") else ""
    row = [ours["left_out"] or milliseconds(seconds) + of_dispatch]
    row += [f"{seconds / best[p]:.3f}" if seconds and p in best else "-" for p in peers]
    return [*row, milliseconds(ours["compile_seconds"])]


def dispatched(records: Sequence[Mapping[str, Any]]) -> str | None:
    """A line on the times with a star, and how many others are bound by dispatch; None if none."""
    bound = [
        label
        for r in records
        for label, found in r["contestants"].items()
        if found.get("bound_by_dispatch")
    ]
    if not bound:
        return None
    others = sum(not label.startswith(OURS) for label in bound)
    return (
        "* the time to ask for a call, not of the device, which waits for the next one "
        f"({len(bound) - others} of ours, {others} of peers; the JSON says which)"
    )


def milliseconds(seconds: float | None) -> str:
    """Format seconds as milliseconds with three digits, None as a dash."""
    return "-" if seconds is None else f"{1e3 * seconds:#.3g}".rstrip(".")


def print_summary(console: Console, found: Mapping[str, Any]) -> None:
    """Print means, worst cases and limits as lines."""
    for group, peers in found["geometric_means"].items():
        means = ", ".join(
            f"{m['ratio']:.3f} of {p} ({m['cases']}, worst {m['worst']:.3f})"
            for p, m in peers.items()
        )
        console.print(f"geometric mean, {group}: {means or '-'}", soft_wrap=True)
    for peer, case in found["worst"].items():
        console.print(f"worst beside {peer}: {case['ratio']:.3f}, {case['case']}", soft_wrap=True)
    for limit in found["limits"]:
        console.print(
            f"limit {limit['at_most']:.3g} ({limit['limit']}): {limit['exceeded']} of "
            f"{limit['of']} above it, the worst {limit['worst']:.3g}",
            soft_wrap=True,
        )
    for case, reason in found["not_right"].items():
        console.print(f"NOT RIGHT: {case}: {reason}", markup=False, soft_wrap=True)


def as_json(
    facts: Mapping[str, Any], records: Sequence[Mapping[str, Any]], found: Mapping[str, Any]
) -> str:
    """Return one JSON object: the machine, the summary, every record."""
    return json.dumps({"machine": facts, "summary": found, "records": records}, indent=1) + "\n"
