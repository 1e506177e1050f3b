"""From which nodes archives are filled: sources, and the m4f inputs of each stream."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.cluster.archive_inputs import ArchiveInput, ArchiveInputs
from restreamer.cluster.remote_files import RemoteFiles
from restreamer.config.load import parse
from restreamer.config.resolve import resolve_stream
from restreamer.node_replication import NodeReplication

KEY = "cluster_key 0123456789abcdef0123;"
TEXT = f"""{KEY}
stream x {{
  input publish://;
  input m4f://b:8080/y;
  input m4fs://c/x;
  dvr /d 7d replicate;
}}
template t {{ prefix live; input publish://; input m4f://b:8080/%s; dvr /d 7d replicate; }}
stream plain {{ input m4f://b/plain; dvr /d 7d; }}
"""


class InputsTests(SynchronousTestCase):
    @override
    def setUp(self) -> None:
        self.files = RemoteFiles(bytes(16), Clock())
        self.asked: list[tuple[str, int, str, bool]] = []
        self.of = {"x": [ArchiveInput("b", 1, False, "k", "y"), ArchiveInput("c", 2, True, "k", "x")]}
        self.inputs = ArchiveInputs(
            self.files, lambda name: self.of.get(name, []), lambda: mock.Mock(clock=Clock()), self.remote
        )

    def remote(self, host: str, port: int, key: str, tls: bool) -> Any:
        self.asked.append((host, port, key, tls))
        return mock.Mock()

    def test_names_and_places(self) -> None:
        first, second = self.inputs.asked_for_stream("x")
        self.assertEqual((first.remote_name("x"), second.remote_name("x")), ("y", "x"))
        self.assertEqual((first.address, second.address), ("b:1/y", "c:2/x"))
        self.assertEqual(self.asked, [("b", 1, "k", False), ("c", 2, "k", True)])
        self.assertEqual(self.inputs.asked_for_stream("other"), [])
        self.assertEqual(self.inputs.source_ids(), set())

    def test_one_link_for_all_streams(self) -> None:
        self.of["z"] = [ArchiveInput("b", 1, False, "k", "z")]
        links = [self.inputs.asked_for_stream(name)[0].background_link() for name in ("x", "z", "x")]
        self.assertEqual(len(set(map(id, links))), 1)
        (source, *_) = self.inputs.asked_for_stream("x")
        self.assertIsNot(source.background_link(9), links[0])
        self.assertIn(("b", 9, "k", False), self.asked)

    def test_what_is_not_wanted_is_closed(self) -> None:
        (first, second) = self.inputs.asked_for_stream("x")
        self.of["x"] = self.of["x"][:1]
        self.inputs.keep(["x"])
        self.assertTrue(second.link._over)
        self.assertFalse(first.link._over)
        self.assertEqual(self.inputs.asked_for_stream("x"), [first])
        self.inputs.close()
        self.assertTrue(first.link._over)


class ConfiguredTests(SynchronousTestCase):
    def test_of_the_configuration(self) -> None:
        configuration = parse(TEXT).configuration
        disks = mock.Mock()

        def dvr_of(name: str) -> Any:
            stream = resolve_stream(configuration, name)
            return stream.dvr if stream is not None else None

        entries = [mock.Mock(stream=mock.Mock())]
        entries[0].stream.name = "live/one"
        registry = mock.MagicMock()
        registry.__iter__.return_value = entries
        made = NodeReplication(
            Clock(),
            bytes(16),
            registry,
            RemoteFiles(bytes(16), Clock()),
            lambda: 0,
            disks,
            mock.Mock(),
            lambda: configuration,
            dvr_of,
            lambda: mock.Mock(clock=Clock()),
            lambda host, port, key, tls: mock.Mock(),
        )
        made.look()
        self.addCleanup(made.close)
        key = "0123456789abcdef0123"
        self.assertEqual(
            made._inputs_of("x"),
            [ArchiveInput("b", 8080, False, key, "y"), ArchiveInput("c", 443, True, key, "x")],
        )
        self.assertEqual(made._inputs_of("live/one"), [ArchiveInput("b", 8080, False, key, "live/one")])
        for name in ("x", "live/one"):
            self.assertIsNotNone(made.facts(name))
        self.assertIsNone(made.facts("plain"))
