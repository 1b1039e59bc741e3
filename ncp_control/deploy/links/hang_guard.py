"""`HangGuard`: a thread that notices when the host of a link does not come back from its code."""

import threading
import time
from collections.abc import Callable
from typing import Self

_POLL_S = 0.03


class HangGuard:
    """Calls a function, again and again, while the main thread of the host hangs.

    Args:
        on_hang: Called in the guard's thread with the time since the last `turn` [s].
        longest_s: Time without a `turn` after which the main thread counts as hanging [s].
    """

    def __init__(self, on_hang: Callable[[float], None], longest_s: float) -> None:
        self._on_hang, self._longest_s = on_hang, longest_s
        self._turned_s = time.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hang guard", daemon=True)

    def turn(self) -> None:
        """Tell that the main thread is not hanging."""
        self._turned_s = time.monotonic()

    def end(self) -> None:
        """End the guard; without effect if it has ended."""
        self._is_over.set()

    def __enter__(self) -> Self:
        self.turn()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _watch(self) -> None:
        while not self._is_over.wait(_POLL_S):
            silent_s = time.monotonic() - self._turned_s
            if silent_s > self._longest_s:
                self._on_hang(silent_s)
