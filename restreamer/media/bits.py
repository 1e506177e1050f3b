"""A bounded reader of bits, most significant first, as codec headers are written."""

from __future__ import annotations

from typing import Final

from restreamer.errors import MediaError

#: Headers that are read bit by bit are short; a longer one is an attack or a mistake.
MAX_BYTES: Final = 65_536

#: Exp-Golomb codes of more leading zeros do not fit 32 bits (ISO/IEC 14496-10 section 9.1).
MAX_LEADING_ZEROS: Final = 32


class BitReader:
    """Reads C{data} from its first bit; reading past the end raises L{MediaError}.

    @ivar position: bits read so far.
    """

    __slots__ = ("_length", "_value", "position")

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_BYTES:
            raise MediaError(f"{len(data)} bytes of codec header, at most {MAX_BYTES} are read")
        self._value = int.from_bytes(data, "big")
        self._length = len(data) * 8
        self.position = 0

    @property
    def left(self) -> int:
        """Bits that are not read yet."""
        return self._length - self.position

    def read(self, count: int) -> int:
        """An unsigned number of C{count} bits."""
        end = self.position + count
        if end > self._length:
            raise MediaError(f"codec header ends {end - self._length} bits early")
        self.position = end
        return self._value >> (self._length - end) & ((1 << count) - 1)

    def flag(self) -> bool:
        """One bit."""
        return self.read(1) == 1

    def skip(self, count: int) -> None:
        """Pass over C{count} bits."""
        if count > self.left:
            raise MediaError(f"codec header ends {count - self.left} bits early")
        self.position += count

    def align(self) -> None:
        """Pass over the bits up to the next byte border."""
        self.position = self.position + 7 & ~7

    def ue(self) -> int:
        """An unsigned Exp-Golomb number, ue(v) (ISO/IEC 14496-10 section 9.1), below 2**32."""
        zeros = 0
        while self.read(1) == 0:
            zeros += 1
            if zeros > MAX_LEADING_ZEROS:
                raise MediaError(f"Exp-Golomb code of more than {MAX_LEADING_ZEROS} zeros")
        value = (1 << zeros) - 1 + self.read(zeros)
        if value >= 1 << 32:
            raise MediaError("Exp-Golomb number above 32 bits")
        return value

    def se(self) -> int:
        """A signed Exp-Golomb number, se(v) (section 9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)
