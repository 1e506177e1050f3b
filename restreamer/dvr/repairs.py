"""What takes as long as reading an hour of data, in a thread of its own, one thing after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable

#: What may wait: more is asked for again.
MAX_REPAIRS = 1000

_Work = tuple[Callable[[int], None], int]


class Repairs:
    """The damaged hours of a volume that are made anew. There is a thread while there is something to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: dict[_Work, None] = {}
        self._busy = False

    def ask(self, repair: Callable[[int], None], hour: int) -> None:
        """Have C{repair} called with C{hour}, once; it raises nothing. Never waits."""
        with self._lock:
            if len(self._work) >= MAX_REPAIRS:
                return
            self._work[repair, hour] = None
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._run, name="archive", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                work = next(iter(self._work), None)
                if work is None:
                    self._busy = False
                    return
            repair, hour = work
            try:
                repair(hour)
            finally:
                # Until then it is asked for in vain.
                with self._lock:
                    del self._work[work]
