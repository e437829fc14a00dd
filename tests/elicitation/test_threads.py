"""Requests in threads: order, the first error, and Ctrl-C that waits for nobody."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from align.elicitation.threads import in_threads


def test_in_threads__order_and_first_error():
    assert in_threads(lambda i: time.sleep(0.02 / (i + 1)) or i, list(range(20)), 8) == list(range(20))
    assert in_threads(str, [], 8) == []
    stuck = threading.Event()
    begun = []

    def one(i):
        begun.append(i)
        if i == 1:
            raise KeyError(i)
        stuck.wait(10)

    start = time.monotonic()
    with pytest.raises(KeyError):
        in_threads(one, list(range(100)), 4)
    assert time.monotonic() - start < 5
    stuck.set()
    time.sleep(0.05)
    assert len(begun) <= 5


def test_in_threads__interrupt_does_not_wait():
    stuck = threading.Event()
    threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_threads(lambda i: stuck.wait(20), list(range(100)), 4)
    stuck.set()
    assert time.monotonic() - start < 5
