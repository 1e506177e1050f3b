"""Every target of the fuzzer over its seeds and some thousand mutations of them: the same ones each time.

The fuzzer looks further, where it is installed; this holds everywhere.
"""

from __future__ import annotations

import random
import time

from twisted.trial.unittest import SynchronousTestCase

from restreamer.dvr import summary
from restreamer.m4f import header, hour_index, segment
from test.fuzz.targets import TARGETS

#: Mutations of each target, and how long they may take, seconds.
MUTATIONS = 2000
SECONDS = 2.0
#: Few bytes of these are wrong at a time, and whole pieces of seeds change places.
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF)


def mutated(seed: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """C{seed} with a few changes."""
    data = bytearray(seed)
    for _ in range(1 + chance.randrange(4)):
        if not data:
            break
        at = chance.randrange(len(data))
        match chance.randrange(6):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at] = chance.choice(_NUMBERS)
            case 2:
                del data[at : at + 1 + chance.randrange(16)]
            case 3:
                data[at:at] = data[at : at + chance.randrange(64)]
            case 4:
                other = chance.choice(others)
                begin = chance.randrange(max(1, len(other)))
                data[at : at + 32] = other[begin : begin + 32]
            case _:
                del data[at:]
    return bytes(data)


class Targets(SynchronousTestCase):
    """No exception escapes, and none takes long."""

    def check(self, name: str) -> None:
        target = TARGETS[name]
        seeds = list(target.seeds())
        for module in (header, segment, hour_index, summary):
            # Some of the targets put something else there, which must not stay.
            self.patch(module, "google_crc32c", module.google_crc32c)
        test = target.load()
        chance = random.Random(name)
        begun = time.monotonic()
        for number in range(len(seeds) + MUTATIONS):
            data = seeds[number] if number < len(seeds) else mutated(chance.choice(seeds), seeds, chance)
            try:
                test(data)
            except Exception as error:
                raise AssertionError(f"{name}, input {number}: {error!r} of {data.hex()}") from error
            if time.monotonic() - begun > SECONDS:
                break


def _make(name: str) -> None:
    def test(self: Targets) -> None:
        self.check(name)

    test.__doc__ = f"The target {name}."
    setattr(Targets, f"test_{name}", test)


for _name in TARGETS:
    _make(_name)
