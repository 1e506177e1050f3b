"""Which archives of a node are copied to object stores (C{copy=s3://…}), and what is read from there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from restreamer.config.model import Configuration, DvrConfig, S3Config
from restreamer.dvr.disks import Disks
from restreamer.dvr.object_expiry import Aged
from restreamer.dvr.object_store import CopiedArchive, ObjectStoreFacts, ObjectStores
from restreamer.dvr.store import Store
from restreamer.dvr.stream_store import DataFile
from restreamer.logs import Logger
from restreamer.seams import Timer

_log = Logger()

#: Seconds between two looks at what is to be copied.
OFFER_SECONDS = 20.0
#: Likewise at first: then nobody has listed yet what lies on the disks.
FIRST_OFFER_SECONDS = 2.0


class NodeCopies:
    """The object stores of a node.

    @param dvrs_of: how a stream is recorded, or was.
    @ivar archive: what is there, to be read.
    """

    def __init__(
        self,
        reactor: Any,
        configuration: Callable[[], Configuration],
        disks: Disks,
        dvrs_of: Callable[[str], Iterable[DvrConfig]],
    ) -> None:
        self._reactor = reactor
        self._configuration = configuration
        self._disks = disks
        self._dvrs_of = dvrs_of
        self._stores = ObjectStores(reactor)
        self._timer: Timer | None = None
        #: Where each stream of a volume is copied to, if it is: made in the reactor, read in threads, never
        #: changed. None: nothing is copied by this configuration.
        self._copied: Mapping[tuple[str, str], S3Config | None] | None = None
        self.archive = CopiedArchive(self._stores, self._copies_of)
        disks.held = self._held
        disks.uncopied = self._uncopied

    def configure(self) -> None:
        """The configuration changed, or is there for the first time."""
        copies = _copies(self._configuration())
        self._stores.configure(copies)
        self._copied = {} if copies else None
        self._cancel()
        self._offer(FIRST_OFFER_SECONDS)

    def close(self) -> None:
        """Copy no more."""
        self._cancel()
        self._stores.close()

    def forget(self) -> None:
        """Give memory back."""
        self._stores.forget()

    def facts(self) -> Sequence[ObjectStoreFacts]:
        """How it goes with each of them."""
        return [store.facts for store in self._stores.all()]

    # Inside.

    def _copies_of(self, name: str) -> tuple[S3Config, ...]:
        return tuple(dict.fromkeys(dvr.copy for dvr in self._dvrs_of(name) if dvr.copy is not None))

    def _offer(self, again: float = OFFER_SECONDS) -> None:
        """Tell what is to be copied where, now and then. @param again: seconds until the next time; an error
        of ours in this one is logged, and does not end them.
        """
        self._timer = self._reactor.callLater(again, self._offer) if self._stores.all() else None
        try:
            self._look()
        except Exception:
            _log.failure("what is to be copied to object stores could not be told")

    def _look(self) -> None:
        copied: dict[tuple[str, str], S3Config | None] = {}
        work: dict[S3Config, list[tuple[Store, str]]] = {}
        aged: dict[S3Config, list[Aged]] = {}
        for disk in self._disks.all():
            for name in disk.names:
                dvr = self._dvr_of(disk.root, name)
                copy = copied[disk.root, name] = dvr.copy if dvr is not None else None
                if dvr is None or copy is None:
                    continue
                work.setdefault(copy, []).append((disk.store, name))
                if dvr.copy_depth is not None:
                    locks = partial(disk.locks.spans, name)
                    aged.setdefault(copy, []).append(Aged(name, dvr.copy_depth, locks))
        if self._copied is not None:
            self._copied = copied
        if self._stores.all():
            self._stores.offer(work, aged)

    def _dvr_of(self, root: str, name: str) -> DvrConfig | None:
        return next((dvr for dvr in self._dvrs_of(name) if os.path.normpath(dvr.root) == root), None)

    def _held(self, root: str, store: Store, name: str, file: DataFile) -> bool:
        """Whether a file has to wait for its copy; in a thread. What was not looked at yet waits."""
        copied = self._copied
        if copied is None:
            return False
        if (root, name) not in copied:
            return True
        copy = copied[root, name]
        return copy is not None and not self._stores.is_copied(copy, store, name, file.hour)

    def _uncopied(self, root: str, store: Store, name: str, file: DataFile) -> bool:
        """Whether a file that is about to go should have been copied before, and was not; in a thread."""
        copy = (self._copied or {}).get((root, name))
        if copy is None:
            return False
        try:
            return not self._stores.is_file_copied(copy, store, name, file.hour, file.facts)
        except OSError:
            # It cannot be known, and room is to be made all the same.
            return True

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


def _copies(configuration: Configuration) -> set[S3Config]:
    places = [
        *[each.dvr for each in configuration.streams.values()],
        *[each.stream.dvr for each in configuration.templates.values()],
        *[each.dvr for each in configuration.sources],
    ]
    return {dvr.copy for dvr in places if dvr is not None and dvr.copy is not None}
