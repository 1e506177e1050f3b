"""What may be deleted of an archive that is copied: nothing before it is known that it was."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.config.load import parse
from restreamer.node_copies import OFFER_SECONDS, NodeCopies

COPIED = "stream a { input publish://; dvr /d 6h copy=s3://k:s@127.0.0.1:9/b; }"
KEPT = "stream b { input publish://; dvr /d 6h; }"


class Held(SynchronousTestCase):
    """The first sweep of a start comes before anybody looked at what is there."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.disk = mock.Mock(root="/d", names=[])
        self.disks = mock.Mock()
        self.disks.all.return_value = [self.disk]
        self.stores = mock.Mock()
        self.stores.all.return_value = [object()]
        self.stores.is_copied.return_value = False

    def copies(self, text: str) -> NodeCopies:
        configuration = parse(text).configuration

        def dvrs_of(name: str) -> Any:
            stream = configuration.streams.get(name)
            return [stream.dvr] if stream is not None and stream.dvr is not None else []

        with mock.patch("restreamer.node_copies.ObjectStores", return_value=self.stores):
            made = NodeCopies(self.clock, lambda: configuration, self.disks, dvrs_of)
        made.configure()
        self.addCleanup(made.close)
        return made

    def held(self, name: str) -> bool:
        """Whether a file of a stream has to wait."""
        return bool(self.disks.held("/d", mock.Mock(), name, mock.Mock(hour=7)))

    def test_from_the_start_on(self) -> None:
        """Streams that the disk did not list yet wait; then each as its copy says."""
        self.copies(COPIED + KEPT)
        self.assertTrue(self.held("a"))
        self.assertTrue(self.held("b"), "not known yet")
        self.disk.names = ["a", "b"]
        self.clock.advance(OFFER_SECONDS)
        self.assertTrue(self.held("a"))
        self.assertFalse(self.held("b"))
        self.stores.is_copied.return_value = True
        self.assertFalse(self.held("a"))

    def test_gone_before_it_was_copied(self) -> None:
        """What should have been copied counts, by the file: the rest of its hour may be gone."""
        self.copies(COPIED + KEPT)
        self.stores.is_file_copied.return_value = False

        def uncopied(name: str) -> bool:
            return bool(self.disks.uncopied("/d", mock.Mock(), name, mock.Mock(hour=7)))

        self.assertFalse(uncopied("a"), "not known yet")
        self.disk.names = ["a", "b"]
        self.clock.advance(OFFER_SECONDS)
        self.assertEqual([uncopied("a"), uncopied("b")], [True, False])
        self.stores.is_file_copied.return_value = True
        self.assertFalse(uncopied("a"))
        self.stores.is_file_copied.side_effect = OSError
        self.assertTrue(uncopied("a"))

    def test_a_look_that_fails(self) -> None:
        """An error in one look at what is to be copied ends neither the start nor the looks after it."""
        self.stores.offer.side_effect = ValueError("of a store")
        self.copies(COPIED)
        self.stores.offer.side_effect = None
        self.stores.offer.reset_mock()
        self.clock.advance(OFFER_SECONDS)
        self.stores.offer.assert_called_once()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_nothing_is_copied(self) -> None:
        self.stores.all.return_value = []
        self.copies(KEPT)
        self.assertFalse(self.held("b"))
