"""Tests of L{restreamer.mpegts.packet}, L{restreamer.mpegts.psi} and L{restreamer.mpegts.pes}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.mpegts import packet, pes, psi
from restreamer.testing.media import pattern

FIELDS = (b"", packet.adaptation_field(packet.RANDOM_ACCESS), packet.adaptation_field(0, 12345))


def payloads(packets: bytes) -> list[bytes]:
    """The payload of each packet."""
    found = []
    for at in range(0, len(packets), 188):
        one = packets[at : at + 188]
        found.append(one[5 + one[4] :] if one[3] & 0x20 else one[4:])
    return found


class WriterTests(SynchronousTestCase):
    """Cutting units into packets."""

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(
        head=st.integers(0, 400),
        body=st.integers(0, 700),
        skip=st.integers(0, 6),
        field=st.sampled_from(FIELDS),
        counter=st.integers(0, 15),
    )
    def test_write(self, head: int, body: int, skip: int, field: bytes, counter: int) -> None:
        """Everything comes out again, in as few packets as it takes, the counter rises by their number."""
        skip = min(skip, body)
        if head + body - skip == 0:
            return
        writer = packet.PacketWriter(0x123)
        writer.counter = counter
        unit = pattern(1, head) + pattern(2, body)[skip:]
        packets = writer.write(pattern(1, head), pattern(2, body), skip, field)
        self.assertEqual(b"".join(payloads(packets)), unit)
        count = packet.packet_count(len(unit), len(field))
        self.assertEqual(len(packets), 188 * count)
        self.assertEqual(writer.counter, (counter + count) % 16)
        for number in range(count):
            one = packets[188 * number : 188 * number + 188]
            self.assertEqual(one[:3], bytes((0x47, (0x41 if number == 0 else 0x01), 0x23)))
            self.assertEqual(one[3] & 0x1F, 0x10 | (counter + number) % 16)
        if field:
            self.assertEqual(packets[5], field[1])

    def test_long_unit(self) -> None:
        """A picture longer than the tables is the same as one cut by hand."""
        body = pattern(3, 184 * 1000 + 77)
        writer = packet.PacketWriter(0x1FFE)
        packets = writer.write(b"", body)
        self.assertEqual(payloads(packets), [body[at : at + 184] for at in range(0, len(body), 184)])
        self.assertEqual([packets[188 * n + 3] & 15 for n in range(1001)], [n % 16 for n in range(1001)])

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(
        size=st.integers(16, 4000),
        more=st.integers(0, 15),
        whole=st.integers(14, 19),
        field=st.sampled_from(FIELDS),
    )
    def test_write_spread(self, size: int, more: int, whole: int, field: bytes) -> None:
        """As many packets as asked for, each with a payload."""
        unit = pattern(4, size)
        count = min(packet.packet_count(size, len(field)) + more, size)
        packets = packet.PacketWriter(0x100).write_spread(unit, whole, count, field)
        self.assertEqual(len(packets), 188 * count)
        parts = payloads(packets)
        self.assertEqual(b"".join(parts), unit)
        self.assertTrue(all(parts))
        if size >= whole + count - 1:
            self.assertGreaterEqual(len(parts[0]), min(whole, 184 - len(field)))

    def test_mark_repeats_the_counter_before(self) -> None:
        writer = packet.PacketWriter(0x101)
        writer.write(b"", b"x")
        mark = writer.mark(packet.adaptation_field(0, 5))
        self.assertEqual((len(mark), mark[3], mark[4], writer.counter), (188, 0x20, 183, 1))

    def test_lead_in_precedes(self) -> None:
        writer = packet.PacketWriter(0)
        writer.counter = 5
        before = writer.lead_in(pattern(5, 400), packet.adaptation_field(packet.DISCONTINUITY))
        self.assertEqual([before[188 * n + 3] & 15 for n in range(3)], [2, 3, 4])
        self.assertEqual(writer.counter, 5)

    def test_pcr(self) -> None:
        """ISO/IEC 13818-1 section 2.4.3.5: 33 bits of base, 6 reserved, 9 of extension."""
        field = packet.adaptation_field(0, (1 << 33) - 1)
        self.assertEqual(field.hex(), "0710ffffffff" + "fe00")


class PesTests(SynchronousTestCase):
    """PES headers."""

    def test_pts_alone(self) -> None:
        header = pes.pes_header(0xC0, 90000, 0, 100)
        self.assertEqual(header.hex(), "000001c0006c848005" + "210005bf21")

    def test_pts_and_dts(self) -> None:
        header = pes.pes_header(0xE0, (1 << 33) - 1, 1, 100)
        self.assertEqual(header.hex(), "000001e0007184c00a" + "3100010001" + "1fffffffff")

    def test_absolute_time_is_masked(self) -> None:
        self.assertEqual(pes.pes_header(0xE0, 5 << 33, 3600, 1), pes.pes_header(0xE0, 0, 3600, 1))

    def test_long_picture_has_no_length(self) -> None:
        self.assertEqual(pes.pes_header(0xE0, 0, 0, 65527)[4:6], b"\xff\xff")
        self.assertEqual(pes.pes_header(0xE0, 0, 0, 65528)[4:6], b"\x00\x00")


class SectionTests(SynchronousTestCase):
    """Program tables."""

    def test_crc(self) -> None:
        """The check value of CRC-32/MPEG-2."""
        self.assertEqual(psi.crc32_mpeg(b"123456789"), 0x0376E6E7)

    def test_pat(self) -> None:
        section = psi.pat_section()
        self.assertEqual(section[:12].hex(), "00b00d0001c100000001f000")
        self.assertEqual(psi.crc32_mpeg(section), 0)

    def test_pmt(self) -> None:
        lines = [
            psi.ProgramStream(stream_type=0x1B, pid=0x101),
            psi.ProgramStream(stream_type=0x0F, pid=0x202, language="deu"),
        ]
        section = psi.pmt_section(psi.pmt_body(0x101, lines), 3)
        expected = "02b01d0001c70000" + "e101f000" + "1be101f000" + "0fe202f006" + "0a0464657500"
        self.assertEqual(section[:-4].hex(), expected.replace("02b01d", f"02b0{len(section) - 3:02x}"))
        self.assertEqual(psi.crc32_mpeg(section), 0)

    def test_sdt(self) -> None:
        section = psi.sdt_section("P", "Né\x00\n")
        self.assertEqual(section[:11].hex()[:2], "42")
        self.assertIn(b"\x48\x09\x01\x02\x15P\x04\x15N\xc3\xa9", section)
        self.assertEqual(psi.crc32_mpeg(section), 0)

    def test_long_name_is_cut_between_characters(self) -> None:
        section = psi.sdt_section("P", "\u20ac" * 200)
        self.assertIn(b"\x15" + ("\u20ac" * 33).encode(), section)
        self.assertNotIn(("\u20ac" * 34).encode(), section)
