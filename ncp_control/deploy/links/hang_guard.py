"""`HangGuard`: a thread that notices when a call does not return."""

import threading
import time
from collections.abc import Callable
from typing import Self

_POLL_S, _MOST_S = 0.03, 0.1
"""Time between two looks, and the most that one counts: a suspended process is not hanging."""


class HangGuard:
    """Calls a function, again and again, while a guarded call does not return.

    One thread tells when its calls begin and end.

    Args:
        on_hang: Called in the guard's thread with the time since the call began [s]. It must not
            hang itself.
        longest_s: Time after which a call counts as hanging [s].
    """

    def __init__(self, on_hang: Callable[[float], None], longest_s: float) -> None:
        self._on_hang, self._longest_s = on_hang, longest_s
        self._num_calls, self._is_inside = 0, False
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hang guard", daemon=True)

    def begin_call(self) -> None:
        """Begin to guard a call."""
        self._num_calls += 1
        self._is_inside = True

    def end_call(self) -> None:
        """Tell that the call has returned."""
        self._is_inside = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def _watch(self) -> None:
        call, hung_s, looked_s = 0, 0.0, time.monotonic()
        while not self._is_over.wait(_POLL_S):
            now_s = time.monotonic()
            since_s, looked_s = min(now_s - looked_s, _MOST_S), now_s
            if self._is_inside and self._num_calls == call:
                hung_s += since_s
                if hung_s > self._longest_s:
                    self._on_hang(hung_s)
            else:
                call, hung_s = self._num_calls, 0.0
