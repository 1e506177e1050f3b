"""Coroutines that mostly have their answer at once: run them to their first wait without a Deferred.

A Deferred and its callbacks cost more than parsing the request. A route that awaits only what is already
there never needs them; one that really waits is carried on from where it stopped.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, TypeVar

from attrs import frozen

T = TypeVar("T")


@frozen
class Paused:
    """A coroutine that stopped to wait.

    @ivar coroutine: the coroutine; @ivar waited: what it yielded, for whoever drives it on.
    """

    coroutine: Coroutine[Any, Any, Any]
    waited: Any


def first_step(coroutine: Coroutine[Any, Any, T]) -> T | Paused:
    """Run C{coroutine} until it returns (its result), waits (L{Paused}) or raises (the exception)."""
    try:
        waited = coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    return Paused(coroutine, waited)


@types.coroutine
def carried_on(paused: Paused) -> Generator[Any, Any, Any]:
    """The rest of C{paused}, as an awaitable that begins with the wait it stopped at."""
    coroutine, waited = paused.coroutine, paused.waited
    while True:
        try:
            try:
                value = yield waited
            except BaseException as error:
                waited = coroutine.throw(error)
            else:
                waited = coroutine.send(value)
        except StopIteration as stop:
            return stop.value


async def awaited(outcome: Awaitable[T]) -> T:
    """C{outcome}, whatever kind of awaitable it is, as a coroutine."""
    return await outcome


async def given(value: T) -> T:
    """C{value}, as a coroutine."""
    return value
