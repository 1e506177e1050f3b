"""What a switch of inputs tells of itself."""

from __future__ import annotations

from attrs import evolve

from restreamer.facts import InputFacts
from restreamer.media.timebase import TICKS_PER_SECOND
from restreamer.sources.input_slot import InputSlot
from restreamer.sources.input_states import InputEvent, InputState
from restreamer.sources.input_switch import InputSwitch


def facts_of(switch: InputSwitch, utc: int) -> tuple[InputFacts, ...]:
    """The inputs of C{switch}, the preferred first, at C{utc} ticks."""
    now = switch.clock.seconds()
    return tuple(_facts(slot, place, now, utc) for place, slot in enumerate(switch.slots, 1))


def _facts(slot: InputSlot, place: int, now: float, utc: int) -> InputFacts:
    running = slot.running
    feeding = slot.state is InputState.FEEDING
    counts = slot.counts
    return InputFacts(
        url=slot.plan.url,
        proto="backup" if slot.plan.backup else slot.plan.url.partition(":")[0],
        state=slot.state.value,
        priority=place,
        switches=counts.get(InputEvent.DELIVERED, 0),
        frames=getattr(running, "frames", 0),
        bytes=getattr(running, "bytes", 0),
        since=utc - round((now - slot.since) * TICKS_PER_SECOND),
        seconds=slot.fed_seconds + (now - slot.fed_since if feeding else 0.0),
        retries=counts.get(InputEvent.RESTED, 0),
        errors=slot.losses,
        last_error=slot.error,
        lag=getattr(running, "lag", None),
        counters=slot.counters,
    )


def with_publisher(inputs: tuple[InputFacts, ...], publisher: InputFacts | None) -> tuple[InputFacts, ...]:
    """C{inputs} with what C{publisher} brought, where it is one of them; alone, where there are no others."""
    if publisher is None:
        return inputs
    if not inputs:
        return (publisher,)
    return tuple(
        evolve(
            each,
            frames=publisher.frames,
            bytes=publisher.bytes,
            counters=publisher.counters,
        )
        if each.proto == "publish"
        else each
        for each in inputs
    )
