"""A thread that compiles is told apart from one that waits for a device."""

from __future__ import annotations

import threading

import jax
import jax.numpy as jnp
from sax_model.compiling import is_compiling


def test_a_thread_that_traces_or_compiles_is_seen_to_and_one_that_waits_is_not():
    """The stack of a thread inside jit's first call has the compiler on it; a waiting thread's has not."""
    seen, go, done = [], threading.Event(), threading.Event()

    def heavy(x):
        seen.append(is_compiling(threading.get_ident()))  # Called while JAX traces.
        return jnp.tanh(x) @ x

    def work():
        jax.jit(heavy)(jnp.ones((8, 8)))
        done.set()
        go.wait()

    thread = threading.Thread(target=work)
    thread.start()
    done.wait(60)
    assert seen == [True]
    assert not is_compiling(thread.ident)
    go.set()
    thread.join()


def test_a_thread_that_is_gone_compiles_nothing():
    """No stack, no compiler."""
    assert not is_compiling(None)
    assert not is_compiling(-1)
