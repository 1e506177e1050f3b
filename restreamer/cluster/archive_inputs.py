"""Nodes that single streams are taken from (C{input m4f://…}), as places to fetch their past from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from attrs import frozen
from typing_extensions import override

from restreamer.cluster.connector import Node, Remote
from restreamer.cluster.file_link import FileLink
from restreamer.cluster.remote_files import FileSource, RemoteFiles


@frozen
class ArchiveInput:
    """One stream of one node. @ivar path: what it is called there. @ivar tls: whether links are TLS."""

    host: str
    port: int
    tls: bool
    cluster_key: str
    path: str


class InputSource(FileSource):
    """A source of one stream, which may have another name there."""

    def __init__(
        self, shelf: RemoteFiles, address: str, path: str, link: Callable[[int | None], FileLink]
    ) -> None:
        super().__init__(shelf, link(None), f"{address}/{path}", (), (), "", 0, link)
        self._path = path

    @override
    def remote_name(self, name: str) -> str:
        return self._path

    @override
    def may_have(self, name: str) -> bool:
        return True


class ArchiveInputs:
    """The sources of a node, and the inputs of each stream after them.

    One link to a node serves all streams that are taken from it.
    @param inputs: of a stream that the configuration has. @param link_node: this node, as links present it.
    @param remote_node: another one.
    """

    def __init__(
        self,
        files: RemoteFiles,
        inputs: Callable[[str], Iterable[ArchiveInput]],
        link_node: Callable[[], Node],
        remote_node: Callable[[str, int, str, bool], Remote],
    ) -> None:
        self._files = files
        self._inputs = inputs
        self._link_node = link_node
        self._remote_node = remote_node
        self._sources: dict[ArchiveInput, InputSource] = {}
        self._links: dict[tuple[str, int, bool, str], FileLink] = {}

    def source_ids(self) -> set[bytes]:
        """See L{RemoteFiles.source_ids}."""
        return self._files.source_ids()

    def asked_for_stream(self, name: str) -> list[FileSource]:
        """See L{RemoteFiles.asked_for_stream}."""
        return [*self._files.asked_for_stream(name), *[self._source(each) for each in self._inputs(name)]]

    def keep(self, names: Iterable[str]) -> None:
        """Forget all that is not of these streams."""
        wanted = {each for name in names for each in self._inputs(name)}
        for gone in self._sources.keys() - wanted:
            del self._sources[gone]
        nodes = {(each.host, each.tls, each.cluster_key) for each in wanted}
        for key in [key for key in self._links if (key[0], key[2], key[3]) not in nodes]:
            self._links.pop(key).close()

    def close(self) -> None:
        """Ask no more."""
        self.keep(())

    def _source(self, wanted: ArchiveInput) -> InputSource:
        found = self._sources.get(wanted)
        if found is None:
            address = f"{wanted.host}:{wanted.port}"
            link = partial(self._link, wanted)
            found = self._sources[wanted] = InputSource(self._files, address, wanted.path, link)
        return found

    def _link(self, wanted: ArchiveInput, port: int | None) -> FileLink:
        key = (wanted.host, port or wanted.port, wanted.tls, wanted.cluster_key)
        found = self._links.get(key)
        if found is None:
            remote = self._remote_node(wanted.host, key[1], wanted.cluster_key, wanted.tls)
            found = self._links[key] = FileLink(self._link_node(), remote)
        return found
