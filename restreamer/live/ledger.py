"""What must outlive a restart: the last segment number and discontinuity sequence of each stream.

Numbers alone would be safe without it (they come from the UTC grid); the discontinuity sequence is a plain
count and is not. Kept small: the oldest names fall out.
"""

from __future__ import annotations

from attrs import define, field

MAX_NAMES = 20_000


@define
class Ledger:
    """Last (segment number, discontinuity sequence) by stream name, newest last.

    @ivar changed: something was noted since the owner last cleared it.
    """

    changed: bool = False
    _rows: dict[str, tuple[int, int]] = field(factory=dict, init=False)

    def note(self, name: str, number: int, discontinuity_sequence: int) -> None:
        """Remember the newest closed segment of C{name}."""
        self._rows.pop(name, None)
        self._rows[name] = (number, discontinuity_sequence)
        if len(self._rows) > MAX_NAMES:
            del self._rows[next(iter(self._rows))]
        self.changed = True

    def last(self, name: str) -> tuple[int, int] | None:
        """The remembered (number, discontinuity sequence), or None for a name never seen."""
        return self._rows.get(name)

    def rows(self) -> dict[str, list[int]]:
        """Everything, as plain values for a file."""
        return {name: list(pair) for name, pair in self._rows.items()}

    def restore(self, rows: object) -> int:
        """Take back what L{rows} gave; whatever does not look right is skipped.

        @return: how many names were taken.
        """
        taken = 0
        if isinstance(rows, dict):
            for name, pair in rows.items():
                if (
                    isinstance(name, str)
                    and isinstance(pair, list)
                    and len(pair) == 2
                    and all(type(value) is int and 0 <= value < 1 << 62 for value in pair)
                ):
                    self.note(name, pair[0], pair[1])
                    taken += 1
        self.changed = False
        return taken
