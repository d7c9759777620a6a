"""Memory that the plugin keeps from one run of a program to the next, XLA's own included."""

import os
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

plugin = pytest.importorskip(
    "jaxconv_onednn", reason="the plugin jaxconv-onednn is not installed: pip install ./native"
)

MIB = 1 << 20
LARGE = 3 * MIB  # bytes


@pytest.fixture(autouse=True)
def kept():
    """The plugin's handlers registered, nothing kept; the limit is restored."""
    from jaxconv._core.methods import onednn

    onednn.registered()
    before = plugin.kept_memory().most
    plugin.keep_memory(0)
    plugin.keep_memory(before)
    yield
    plugin.keep_memory(before)


def large(value: float) -> jax.Array:
    return jax.block_until_ready(jnp.full(LARGE // 4, value))


def test_xla_gets_a_freed_block_again():
    first = large(1)
    place = first.unsafe_buffer_pointer()
    assert plugin.kept_memory().of_xla
    before = plugin.kept_memory().idle
    del first
    assert plugin.kept_memory().idle - before >= LARGE
    second = large(2)
    assert second.unsafe_buffer_pointer() == place
    assert plugin.kept_memory().idle == before
    np.testing.assert_array_equal(second, 2)


def test_an_array_in_use_keeps_its_block():
    first = large(1)
    view = np.asarray(first)
    del first  # the view still has it
    second = large(2)
    np.testing.assert_array_equal(view, 1)
    np.testing.assert_array_equal(second, 2)


def test_a_block_is_at_most_a_quarter_larger_than_asked_for():
    first = large(1)
    place = first.unsafe_buffer_pointer()
    del first
    half = jax.block_until_ready(jnp.ones(LARGE // 8))
    assert half.unsafe_buffer_pointer() != place
    assert plugin.kept_memory().idle >= LARGE


def test_no_more_is_kept_than_allowed():
    plugin.keep_memory(2 * LARGE + MIB)
    arrays = [large(i) for i in range(4)]
    del arrays
    assert 0 < plugin.kept_memory().idle <= 2 * LARGE + MIB
    plugin.keep_memory(0)
    assert plugin.kept_memory().idle == 0
    array = large(1)
    del array
    assert plugin.kept_memory().idle == 0


def test_what_is_in_no_use_for_long_is_freed():
    first, small = large(1), jax.block_until_ready(jnp.ones(MIB // 4))
    del first
    plugin.keep_memory(plugin.kept_memory().most, seconds=1)
    assert plugin.kept_memory().idle >= LARGE
    time.sleep(2.5)
    del small  # the next one that is given back
    assert MIB <= plugin.kept_memory().idle < 2 * MIB


def test_a_program_that_runs_again_gets_no_new_pages():
    """The C library would take 48 MiB from the system at every run, and give them back."""
    x = jnp.ones(12 * MIB)
    program = jax.jit(jnp.sin)
    jax.block_until_ready(program(x))

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            jax.block_until_ready(program(x))
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    kept = faults()
    plugin.keep_memory(0)
    assert kept < faults() / 2


def printed(code: str) -> str:
    """What a new process prints."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_limit_is_an_eighth_of_the_memory():
    """From the import on; XLA's memory is kept from the first call on."""
    code = """
import jaxconv_onednn as plugin
print(*plugin.kept_memory())
plugin.register()
print(*plugin.kept_memory())
"""
    before, after = (line.split() for line in printed(code).splitlines())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < int(before[1]) <= memory // 8
    assert after[1] == before[1]
    assert (before[2], after[2]) == ("False", "True")


def test_a_limit_set_before_the_first_call_stays():
    code = """
import jaxconv_onednn as plugin
plugin.keep_memory(12345)
plugin.register()
print(plugin.kept_memory().most)
"""
    assert printed(code) == "12345\n"


def test_a_forked_process_has_its_own():
    """It begins with nothing that its parent kept."""
    code = """
import os, jax.numpy as jnp, jaxconv_onednn as plugin
plugin.register()
jnp.ones(1 << 20).delete()
print(plugin.kept_memory().idle >= 4 << 20, flush=True)
if os.fork() == 0:
    print(plugin.kept_memory().idle, flush=True)
    os._exit(0)
os.wait()
"""
    assert printed(code) == "True\n0\n"
