"""What a node keeps between starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.state_file import FILE_NAME, StateFile


def _id(size: int) -> bytes:
    return b"\x07" * size


class StateFileTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.folder = self.mktemp()

    def test_kept(self) -> None:
        """Id and numbers come back."""
        first = StateFile(self.folder, _id)
        first.ledger.note("live/cam", 897_678_030, 3)
        first.save()
        second = StateFile(self.folder, os.urandom)
        self.assertEqual(second.node_id, b"\x07" * 16)
        self.assertEqual(second.ledger.last("live/cam"), (897_678_030, 3))

    def test_secret(self) -> None:
        """The secret is kept, a state of before gets one, and nobody else can read it."""
        first = StateFile(self.folder, os.urandom)
        self.assertEqual(len(first.secret), 32)
        self.assertEqual(StateFile(self.folder, os.urandom).secret, first.secret)
        path = Path(self.folder, FILE_NAME)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        for bad in ({}, {"secret": 5}, {"secret": "zz"}, {"secret": "00"}):
            path.write_text(json.dumps({"node_id": first.node_id.hex(), "streams": {"a": [5, 1]}, **bad}))
            state = StateFile(self.folder, os.urandom)
            self.assertEqual((state.node_id, state.ledger.last("a")), (first.node_id, (5, 1)))
            self.assertEqual(len(state.secret), 32)
            self.assertEqual(StateFile(self.folder, os.urandom).secret, state.secret)

    def test_id_is_kept_at_once(self) -> None:
        """A node that is killed before its first stream keeps its id."""
        StateFile(self.folder, _id)
        self.assertEqual(StateFile(self.folder, os.urandom).node_id, b"\x07" * 16)

    def test_written_only_when_changed(self) -> None:
        state = StateFile(self.folder, _id)
        path = Path(self.folder, FILE_NAME)
        path.unlink()
        state.save()
        self.assertFalse(path.exists())
        state.ledger.note("a", 1, 0)
        state.save()
        self.assertTrue(path.exists())

    def test_no_folder(self) -> None:
        """Without a state folder nothing is kept and nothing fails."""
        state = StateFile("", _id)
        state.ledger.note("a", 1, 0)
        state.save()
        self.assertEqual(state.node_id, b"\x07" * 16)

    def test_unusable_files(self) -> None:
        """Whatever is in the file, the node starts; what can be used is used."""
        os.makedirs(self.folder)
        path = Path(self.folder, FILE_NAME)
        node_id = (b"\x09" * 16).hex()
        for text in (
            "",
            "{",
            "[]",
            "null",
            '{"node_id": 5, "streams": {}}',
            '{"node_id": "zz", "streams": {}}',
            json.dumps({"node_id": "00", "streams": {}}),
            "[" * 100_000,
        ):
            path.write_text(text)
            self.assertEqual(StateFile(self.folder, _id).node_id, b"\x07" * 16, text[:40])
        rows = {"good": [5, 1], "short": [5], "text": ["5", 1], "negative": [-5, 1], "huge": [1 << 80, 1]}
        path.write_text(json.dumps({"node_id": node_id, "streams": rows}))
        state = StateFile(self.folder, _id)
        self.assertEqual(state.node_id, b"\x09" * 16)
        self.assertEqual(state.ledger.rows(), {"good": [5, 1]})

    def test_folder_that_cannot_be_written(self) -> None:
        """A node whose state folder is a file runs on without it."""
        Path(self.folder).write_text("not a folder")
        state = StateFile(self.folder, _id)
        state.ledger.note("a", 1, 0)
        state.save()
        self.assertEqual(state.ledger.last("a"), (1, 0))
