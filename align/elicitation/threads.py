"""Many requests at once, but not too many per second."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

from acecausal.errors import AceError

T = TypeVar("T")
R = TypeVar("R")


class Pace:
    """Lets at most so many calls of `wait` return per second, in all threads together; None for no limit."""

    def __init__(self, per_second: float | None) -> None:
        if per_second is not None and not 0 < per_second < math.inf:
            raise AceError(param="per_second", expected="a positive number", got=per_second)
        self._step = 1 / per_second if per_second else 0.0
        self._next, self._lock = -math.inf, threading.Lock()

    def wait(self) -> None:
        if not self._step:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._step
        if start > now:
            time.sleep(start - now)


def in_threads(function: Callable[[T], R], items: Sequence[T], workers: int) -> list[R]:
    """Apply a function to all items. An exception, or Ctrl-C, ends it at once; daemon threads finish on their own."""
    todo, stop = enumerate(items), threading.Event()
    done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()

    def work() -> None:
        for i, item in todo:
            if stop.is_set():
                return
            try:
                done.put((i, function(item), None))
            except BaseException as error:
                done.put((i, None, error))

    results: list[Any] = [None] * len(items)
    try:
        for _ in range(min(workers, len(items))):
            threading.Thread(target=work, daemon=True).start()
        for _ in items:
            i, results[i], error = done.get()
            if error is not None:
                raise error
    finally:
        stop.set()
    return results
