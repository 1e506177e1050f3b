"""Reading what was copied to a real object server."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from typing_extensions import override

from restreamer.config.model import S3Config
from restreamer.dvr.archive import Archive
from restreamer.dvr.object_store import CopiedArchive, ObjectStore, ObjectStores
from restreamer.dvr.recorded import describe
from restreamer.dvr.retention import Limits, Retention
from restreamer.dvr.s3_client import S3Bucket
from restreamer.dvr.s3_hour import data_object
from restreamer.errors import Reason, Refused
from test.dvr.object_server import MISSING, object_server
from test.dvr.recordings import FIRST_HOUR
from test.dvr.test_archive import Place
from test.dvr.test_upload import NAME, recorded_store

AWAY = S3Config(endpoint="http://127.0.0.1:9", key="k", secret="hidden", bucket="b")


class ObjectStoreTests(TestCase):
    """Two hours of five segments were copied, the local ones are gone."""

    if MISSING:
        skip = MISSING

    @override
    def setUp(self) -> None:
        self.config = object_server().config("r-" + self.id().rpartition(".")[2].replace("_", "-")[:58])
        self.local = recorded_store(self.mktemp())
        self.addCleanup(self.local.close)
        self.stores = ObjectStores(reactor)
        self.stores.configure([self.config])
        found = self.stores.find(self.config)
        assert found is not None
        self.objects = found
        self.addCleanup(self.stores.close)
        found.uploads._work = [(self.local, NAME)]
        self.assertTrue(found.uploads.run_once())

    async def refused(self, work: Any) -> Reason:
        with self.assertRaises(Refused) as caught:
            await work
        refusal: Refused = caught.exception
        return refusal.reason

    async def test_what_was_copied_is_read(self) -> None:
        held = await self.objects.holdings(NAME)
        self.assertEqual(held.hours, (FIRST_HOUR, FIRST_HOUR + 1))
        self.assertEqual(len(held.spans), 2)
        stream = self.local.stream(NAME)
        for hour in held.hours:
            own = stream.hour(hour)
            index = await self.objects.hour(NAME, hour)
            self.assertEqual([row.number for row in index], [row.number for row in own])
            for row in own:
                # The row of the disk: where it lies in the object store, that one knows.
                segment = await self.objects.segment(NAME, row)
                self.assertEqual(segment.encoded, stream.segment(row).encoded)
        facts = self.objects.facts
        self.assertEqual((facts.read_segments, facts.damaged, facts.alarm), (10, 0, ""))
        self.assertEqual((facts.upload.hours, facts.upload.pending), (2, 0))
        self.assertNotIn("hidden", repr(facts))

    async def test_headers(self) -> None:
        stream = self.local.stream(NAME)
        rows = [row for hour in (FIRST_HOUR, FIRST_HOUR + 1) for row in stream.hour(hour)]
        wrong = rows[0]._replace(checksum=rows[0].checksum ^ 1)
        found = await self.objects.headers(NAME, [*rows, wrong])
        self.assertEqual(found, [*stream.headers(rows), None])
        self.assertNotIn(None, found[:-1])

    async def test_nothing_else_is_there(self) -> None:
        self.assertEqual(len(await self.objects.hour(NAME, FIRST_HOUR + 2)), 0)
        self.assertIs(await self.refused(self.objects.holdings("other")), Reason.NOT_FOUND)
        self.assertIs(await self.refused(self.objects.hour("other", FIRST_HOUR)), Reason.NOT_FOUND)
        row = self.local.stream(NAME).hour(FIRST_HOUR)[0]
        other = row._replace(checksum=row.checksum ^ 1)
        self.assertIs(await self.refused(self.objects.segment(NAME, other)), Reason.NOT_FOUND)

    async def test_a_damaged_segment_is_not_served(self) -> None:
        copied = self.objects.uploads.upload.read_hour(NAME, FIRST_HOUR)
        assert copied is not None
        row = copied.index[0]
        where = data_object(NAME, FIRST_HOUR, copied.files[row.file])
        bucket = S3Bucket(self.config)
        data = bytearray(bucket.get(where, 100_000))
        data[row.offset + row.size - 1] ^= 1
        bucket.put(where, bytes(data))
        self.assertIs(await self.refused(self.objects.segment(NAME, row)), Reason.NOT_FOUND)
        self.assertEqual(self.objects.facts.damaged, 1)

    async def test_away_in_the_middle(self) -> None:
        held = await self.objects.holdings(NAME)
        row = self.local.stream(NAME).hour(FIRST_HOUR)[0]
        self.objects._bucket = S3Bucket(AWAY)
        self.assertIs(await self.refused(self.objects.segment(NAME, row)), Reason.NOT_READY)
        self.assertIn("cannot be reached", self.objects.facts.alarm)
        # What is there is known still.
        self.assertEqual(await self.objects.holdings(NAME), held)
        self.flushLoggedErrors()

    async def test_away_from_the_start(self) -> None:
        away = ObjectStore(reactor, AWAY)
        self.assertIs(await self.refused(away.holdings(NAME)), Reason.NOT_READY)
        # Those that come next are told at once.
        with mock.patch.object(away._threads, "call", side_effect=AssertionError):
            self.assertIs(await self.refused(away.holdings(NAME)), Reason.NOT_READY)

    async def test_it_is_part_of_the_whole(self) -> None:
        nothing = Place()
        copies = CopiedArchive(self.stores, lambda name: [self.config] if name == NAME else [])
        archive = Archive(lambda name: (), describe, nothing, nothing, lambda name: None, copies=copies)
        self.assertEqual((await archive.holdings(NAME)).hours, (FIRST_HOUR, FIRST_HOUR + 1))
        index = await archive.hour(NAME, FIRST_HOUR)
        self.assertEqual(len(index), 5)
        await archive.segment(NAME, index[0])
        self.assertEqual(archive.reads.segments["s3"], 1)

    async def test_depth_waits_for_the_copy(self) -> None:
        held = True
        retention = Retention(self.local, lambda name: (), lambda: 2e9, lambda: 0.0, lambda name, file: held)
        retention.sweep({NAME: Limits(depth=60)})
        self.assertEqual(retention.deleted, 0)
        retention.sweep({NAME: Limits(depth=60, size=1)})
        self.assertGreater(retention.deleted, 0)

    async def test_stores_follow_the_configuration(self) -> None:
        self.assertTrue(self.stores.is_copied(self.config, self.local, NAME, FIRST_HOUR))
        self.assertFalse(self.stores.is_copied(AWAY, self.local, NAME, FIRST_HOUR))
        self.stores.configure([])
        self.assertIsNone(self.stores.find(self.config))
        self.assertEqual(self.stores.all(), [])
