"""A session as protocols see it, for tests."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from typing_extensions import override

from restreamer.seams import Viewing


@define(eq=False)
class FakeViewing(Viewing):
    """Notes what is done with it. @ivar over: it is over already, for this reason."""

    token: str = ""
    over: str = ""
    counted: list[int] = field(factory=list)
    links: list[tuple[Callable[[], int], Callable[[str], None]]] = field(factory=list)
    detached: int = 0
    shown: list[int] = field(factory=list)

    @override
    def give_back(self) -> None:
        """See L{Viewing}."""

    @override
    def goes_on(self, now: float) -> bool:
        """See L{Viewing}."""
        return not self.over

    @override
    def show(self, until: int) -> None:
        """See L{Viewing}."""
        self.shown.append(until)

    @override
    def count(self, size: int) -> None:
        """See L{Viewing}."""
        self.counted.append(size)

    @override
    def attach(self, sent: Callable[[], int], kick: Callable[[str], None]) -> Callable[[], None]:
        """See L{Viewing}."""
        link = sent, kick
        self.links.append(link)
        if self.over:
            kick(self.over)

        def detach() -> None:
            if link in self.links:
                self.links.remove(link)
                self.detached += 1

        return detach

    def kick(self, why: str) -> None:
        """End all connections."""
        for _, kick in tuple(self.links):
            kick(why)

    @property
    def sent(self) -> int:
        """Bytes of all connections."""
        return sum(sent() for sent, _ in self.links)
