"""A machine's profile in a policy: what it changes, what it leaves, how it is kept."""

import copy
import dataclasses
import json
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import MachineProfile, Policy, accelerate, conv, explain
from jaxconv._core import machine
from jaxconv._core.dispatch import seamless
from jaxconv._core.dispatch.choose import EXPORTED, Choice, refusal, select
from jaxconv._core.dispatch.costs import seconds
from jaxconv._core.dispatch.profile import KINDS, Factor, conditions, kind
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import normalise
from jaxconv._core.methods import METHODS
from jaxconv.bench import regret

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 10, 4)), jnp.float32)
W = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 4, 8)), jnp.float32)
SPEC = normalise("test", X.shape, W.shape)
PROBLEM = Problem.of("output", X, W, SPEC, dtype=X.dtype, platform="cpu")
ONLY_ON = "expected to be the fastest on the CPU of the policy's profile"


def profiled(wanted, kinds=KINDS, factor=1e-6, **facts):
    """A policy that expects one method to take next to no time for some kinds of layers."""
    factors = [
        Factor(name, contraction, which, factor if name == wanted and which in kinds else 1.0)
        for name, method in METHODS.items()
        for contraction in method.constants
        for which in KINDS
    ]
    return Policy(profile=MachineProfile(factors=tuple(factors), **facts))


@pytest.mark.parametrize("method", ["taps", "lax"])
def test_auto_takes_what_the_profile_expects_to_be_fastest(method):
    policy = profiled(method)
    [row] = explain(lambda x, w: conv(x, w, policy=policy), X, W, platform="cpu")
    assert row.method == method
    assert row.reason.endswith("the CPU of the policy's profile")
    [row] = explain(accelerate(conv, policy=policy), X, W, platform="cpu")
    assert row.method == method
    loss = lambda x, w, **how: (conv(x, w, **how) ** 2).sum()
    found = jax.grad(loss, (0, 1))(X, W, policy=policy)
    for ours, usual in zip(found, jax.grad(loss, (0, 1))(X, W), strict=True):
        np.testing.assert_allclose(ours, usual, rtol=1e-4, atol=1e-4)


def test_it_is_for_cpus_and_for_what_no_entry_decides():
    policy = profiled("taps")
    assert select(PROBLEM, policy=policy) == Choice("taps", ONLY_ON)
    assert select(PROBLEM._replace(platform="gpu"), policy=policy).method == "lax"
    assert select(PROBLEM, "loops", policy) == Choice("loops", "asked for")
    both = Policy({PROBLEM: "loops"}, profile=policy.profile)
    assert select(PROBLEM, policy=both) == Choice("loops", "chosen by the policy")
    assert select(PROBLEM._replace(inputs=3), policy=both) == Choice("taps", ONLY_ON)


def test_auto_keeps_what_it_promises():
    """No FFT, whatever is expected of it, and no look at the batch."""
    wide = PROBLEM._replace(spec=normalise("test", (2, 64, 64, 4), (15, 15, 4, 8)))
    assert select(wide, policy=profiled("fft")).method != "fft"
    assert select(wide, "fastest", profiled("fft")) == Choice("fft", ONLY_ON)
    for method in ("taps", "lax", "onednn"):
        policy = profiled(method, factor=0.6)
        assert len({select(PROBLEM._replace(batch=n), policy=policy) for n in (1, 8, 300)}) == 1


def test_tiles_are_chosen_by_it_too():
    kernel = (3, 3, 3, 2)
    whole = seamless.problem_of(normalise("test", (400, 400, 3), kernel), "zeros", kernel)
    for slow, other in (seamless.SEAMLESS, seamless.SEAMLESS[::-1]):
        if refusal(whole, slow) is refusal(whole, other) is None:
            assert seamless.choose(whole, policy=profiled(slow, factor=1e6)).method == other


def test_a_machine_that_is_slower_in_everything_chooses_as_before():
    slow = Policy(profile=MachineProfile(factors=(("lax", "output", "dense", 7.0),)))
    for index in range(30):
        problem, _ = regret.problem(11, index)
        for reason in (None, EXPORTED):
            usual, found = (
                select(problem, "fastest", policy, ffi_unavailable_reason=reason).method
                for policy in (None, slow)
            )
            assert found == usual


def test_expected_times_are_multiplied_by_the_factor_of_method_contraction_and_kind():
    of = {"dense": 2.0, "depthwise": 3.0, "grouped": 5.0, "single": 11.0}
    rows = [("taps", "output", which, factor) for which, factor in of.items()]
    profile = MachineProfile(factors=tuple(rows))
    for groups, inputs, outputs, which in (
        *((1, 4, 8, "dense"), (1, 1, 2, "dense"), (1, 1, 1, "single")),
        *((4, 1, 1, "depthwise"), (4, 1, 2, "depthwise"), (2, 2, 1, "grouped")),
    ):
        spec = dataclasses.replace(PROBLEM.spec, groups=groups)
        problem = PROBLEM._replace(spec=spec, inputs=inputs, outputs=outputs).reduced
        assert kind(problem) == which
        ratio = seconds("taps", problem, profile) / seconds("taps", problem)
        assert ratio == pytest.approx(of[which])
        # a method that was not measured: the median of 2, 3, 5 and 11
        ratio = seconds("lax", problem, profile) / seconds("lax", problem)
        assert ratio == pytest.approx(4.0)
    assert profiled("taps", ["grouped"]) != profiled("taps", ["dense"])
    usual = select(PROBLEM).method
    assert select(PROBLEM, policy=profiled("taps", ["grouped"])).method == usual


def test_equal_policies_share_what_is_compiled():
    first, second = profiled("taps", date="2026-11-28"), profiled("taps", date="2026-11-28")
    assert first is not second
    assert (first, hash(first)) == (second, hash(second))
    assert first not in (Policy(), profiled("lax"), Policy({PROBLEM: "taps"}))
    assert Policy({PROBLEM: "taps"}) != Policy({PROBLEM: "taps"}, profile=first.profile)
    traced = []

    def f(x, w, policy):
        traced.append(policy)
        return conv(x, w, policy=policy)

    compiled = jax.jit(f, static_argnums=2)
    for policy, programs in ((first, 1), (second, 1), (profiled("lax"), 2)):
        compiled(X, W, policy)
        assert len(traced) == programs
    for again in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert again == first
    assert repr(first) == "Policy of 0 choices, with the profile of a machine"


def test_saved_and_loaded(tmp_path):
    policy = profiled("taps", facts=tuple(conditions().items()), date="2026-11-28", problems=3)
    policy = Policy({PROBLEM: "lax"}, profile=policy.profile)
    policy.save(tmp_path / "machine.json")
    again = Policy.load(tmp_path / "machine.json")  # a warning would be an error here
    assert again == policy
    assert again.profile is not None
    assert (again.profile.date, again.profile.problems) == ("2026-11-28", 3)
    assert dict(again.profile.facts)["cores"] == str(machine.cores())


def test_a_profile_of_another_machine_is_loaded_with_a_warning(tmp_path):
    facts = {**conditions(), "cores": "999", "jaxlib": "0.1"}
    file = tmp_path / "machine.json"
    policy = profiled("taps", facts=tuple(facts.items()))
    policy.save(file)
    here = conditions()
    message = (
        f"Policy.load: {file} was measured elsewhere (cores: 999 there, {here['cores']} here; "
        f"jaxlib: 0.1 there, {here['jaxlib']} here); `jaxconv calibrate` measures this machine"
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$") as caught:
        assert Policy.load(file) == policy
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_what_restricts_instruction_sets_is_a_fact(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/a --xla_cpu_max_isa=AVX2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert machine.facts()["limits"] == "ONEDNN_MAX_CPU_ISA=AVX2 xla_cpu_max_isa=AVX2"
    monkeypatch.setattr(machine, "_cpuinfo", lambda: "model name\t: A CPU\nflags\t: fpu avx2 sse\n")
    assert machine.facts()["cpu"] == "A CPU"
    assert machine.facts()["cpu flags"] == "avx2"


GOOD = {"date": "", "problems": 1, "facts": {}, "factors": {"lax": {"output": {"dense": 1.5}}}}


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ([], "list indices must be integers or slices, not str"),
        ({}, "'factors'"),
        (GOOD | {"facts": {"cores": 2}}, "MachineProfile: facts must be strings, not 'cores': 2"),
        (
            GOOD | {"factors": {"lax": {"output": {"round": 1.0}}}},
            "MachineProfile: kind='round' must be one of 'single', 'dense', 'depthwise', 'grouped'",
        ),
        (
            GOOD | {"factors": {"lax": {"left": {"dense": 1.0}}}},
            "MachineProfile: contraction='left' must be one of 'output', 'input', 'kernel'",
        ),
        (
            GOOD | {"factors": {"lax": {"output": {"dense": -2.0}}}},
            "MachineProfile: the factor of lax, output, dense is -2.0; it must be a positive "
            "number",
        ),
    ],
)
def test_text_that_holds_no_profile(profile, reason):
    text = json.dumps({"format": "jaxconv policy 1", "entries": [], "profile": profile})
    message = re.escape(f"Policy.from_json: this is not a policy: {reason}")
    with pytest.raises(ValueError, match=f"^{message}$"):
        Policy.from_json(text)


def test_a_method_that_is_gone_is_named():
    with pytest.raises(ValueError, match="MachineProfile: method='magic' must be one of 'lax', "):
        MachineProfile(factors=(("magic", "output", "dense", 1.0),))


ROW = ("lax", "output", "dense", 1.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Policy(profile={}),
            TypeError,
            "Policy: profile must be a jaxconv.MachineProfile or None, not dict; jaxconv calibrate "
            "measures one",
        ),
        (
            lambda: MachineProfile(factors=(ROW[:3],)),
            TypeError,
            "MachineProfile: factors must be tuples (method, contraction, kind, factor), not "
            "('lax', 'output', 'dense')",
        ),
        (
            lambda: MachineProfile(factors=(ROW, ROW)),
            ValueError,
            "MachineProfile: factors has two for one method, contraction and kind",
        ),
        *(
            (
                lambda value=value: MachineProfile(factors=((*ROW[:3], value),)),
                ValueError,
                f"MachineProfile: the factor of lax, output, dense is {value!r}; it must be a "
                "positive number",
            )
            for value in (0, float("nan"), float("inf"), "1", True)
        ),
    ],
)
def test_mistakes(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
