"""The API of a node, put together: every endpoint, and what each of them asks."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from restreamer import __version__, configured
from restreamer.assembly import Core
from restreamer.config.model import Configuration, Listen, LoginConfig
from restreamer.config_file import BlockError, ChangedElsewhereError, ConfigFile
from restreamer.logs import FAULTS
from restreamer.media.names import valid_stream_name
from restreamer.metrics import Metrics, MetricSources
from restreamer.node_events import NodeEvents
from restreamer.node_journal import NodeJournal
from restreamer.pressure import machine_bytes, resident_bytes
from restreamer.web.api import NodeApi, ServerFacts, StreamApi
from restreamer.web.api_error import ApiError
from restreamer.web.dvr_api import DvrApi
from restreamer.web.old_api import OldApi
from restreamer.web.site import FrontSite, make_site
from restreamer.web.v3.authority import Authority, Login
from restreamer.web.v3.blocks import BlocksApi, block_endpoints
from restreamer.web.v3.configured import configured_endpoints
from restreamer.web.v3.configuring import configuring_endpoints
from restreamer.web.v3.endpoint import Access, Answered, Call, Endpoint
from restreamer.web.v3.event_stream import EventStreams
from restreamer.web.v3.reading import (
    archive_endpoints,
    node_endpoints,
    probe_endpoints,
    stream_endpoints,
)
from restreamer.web.v3.viewing import ViewingApi, viewing_endpoints


class ProcessLoad:
    """Share of one processor and of the machine's memory that this process takes, percent."""

    def __init__(self) -> None:
        self._last = (time.monotonic(), time.process_time())
        self._cpu = 0

    def __call__(self) -> tuple[int, int]:
        """Since the last call, but over a second at least."""
        now, used = time.monotonic(), time.process_time()
        before, spent = self._last
        if now - before >= 1.0:
            self._cpu = round(100 * (used - spent) / (now - before))
            self._last = (now, used)
        return self._cpu, round(100 * resident_bytes() / max(1, machine_bytes()))


class NodeEndpoints:
    """What the API of a node offers.

    @param stop: stops a stream by its name; gives whether there was anything to stop.
    @ivar authority: says who may. @ivar streams_of_events: readers of events.
    @ivar file: the configuration file; None: the node was not started from one.
    """

    file: ConfigFile | None

    def __init__(
        self,
        core: Core,
        facts: ServerFacts,
        events: NodeEvents,
        journal: NodeJournal,
        stop: Callable[[str], bool],
    ) -> None:
        self.file = None
        self.authority = Authority(core.reactor)
        self._core = core
        self._facts = facts
        self._events = events
        self._journal = journal
        self._stop = stop
        self._node = NodeApi(
            core.stats,
            core.reactor.seconds,
            lambda: configured.listeners(core.configuration),
            socket.gethostname(),
            ProcessLoad(),
        )
        self.readers = EventStreams(core.reactor, events.bus, lambda: self._node.stats(facts))
        self._metrics = Metrics(
            MetricSources(
                version=__version__,
                streams=core.stats,
                node=core.stats,
                loop=core.pressure,
                resident=resident_bytes,
                sessions=core.sessions.counts,
                decisions=self._decisions,
                sent=lambda: core.sessions.sent,
                extra=self._extra,
                faults=lambda: FAULTS.faults,
            )
        )
        core.gate.observe = lambda verdict, seconds: self._metrics.auth_seconds.labels(verdict.value).observe(
            seconds
        )

    def configure(self, configuration: Configuration) -> None:
        """Ask for the passwords of C{configuration}."""
        self.authority.view = _login(configuration.view_auth)
        self.authority.edit = _login(configuration.edit_auth)

    def site(self, listen: Listen) -> FrontSite | None:
        """Pages and API of a listener; None where they are switched off."""
        if not listen.api:
            return None
        return make_site(self.endpoints(), self.authority, self._core.reactor, proxies=self._core.proxies)

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        core, facts = self._core, self._facts
        streams = configured.ConfiguredStreams(core.stats, lambda: core.configuration)
        found = [
            *stream_endpoints(StreamApi(streams, core.reactor.seconds)),
            self._stopping(),
            *node_endpoints(self._node, facts),
            *archive_endpoints(DvrApi(core.archive, core.reactor.seconds)),
            *viewing_endpoints(self._viewing()),
            *configured_endpoints(
                lambda: configured.templates(core.configuration),
                lambda: configured.vods(core.configuration),
                lambda: configured.auth_backends(core.configuration),
                core.reactor.seconds,
            ),
            *probe_endpoints(facts),
            self._metrics.endpoint(),
            *OldApi(streams, self._node, facts, lambda: core.sessions).endpoints(),
        ]
        if self.file is not None:
            found += configuring_endpoints(
                self.file, ChangedElsewhereError, lambda user: self._changed("config/file", user)
            )
            found += block_endpoints(
                BlocksApi(self.file, ChangedElsewhereError, BlockError, self._changed, core.reactor.seconds)
            )
        return found

    def _viewing(self) -> ViewingApi:
        core = self._core

        def turn() -> Awaitable[None]:
            return deferLater(core.reactor, 0, lambda: None)

        return ViewingApi(
            core.viewers,
            self.readers,
            core.reactor.seconds,
            lambda: int(core.utc.seconds() * 1000),
            turn,
            lambda: self._journal.journal,
            self._events.sinks,
        )

    def _stopping(self) -> Endpoint:
        def stop(call: Call) -> Answered:
            name = call.path["name"]
            if not valid_stream_name(name) or not self._stop(name):
                raise ApiError(404, "not_found", "there is no such stream")
            self._changed(f"streams/{name}/stop", call.user)
            return Answered(204)

        return Endpoint(
            method="POST",
            path="/streams/{name}/stop",
            summary="Send its publisher away, and begin its inputs anew.",
            tag="streams",
            handler=stop,
            access=Access.EDIT,
            status=204,
        )

    def _changed(self, what: str, user: str) -> None:
        self._events.bus.emit("api_call", path=what, user=user)

    def _decisions(self) -> Mapping[str, int]:
        counters = self._core.gate.counters
        told = {verdict.value: count for verdict, count in counters.answers.items()}
        return {**told, "refused": counters.refused, "failure": counters.failures}

    def _extra(self) -> Mapping[str, tuple[str, float]]:
        told: dict[str, tuple[str, float]] = {
            "remote_sessions": ("Viewers on nodes behind this one.", len(self._core.viewers.remote)),
        }
        journal = self._journal.journal
        if journal is not None:
            facts = journal.facts()
            told["journal_waiting_rows"] = ("Rows that wait for the disk.", facts.waiting)
            told["journal_spooled_bytes"] = ("Rows that wait for the database.", facts.spooled)
            told["journal_lost_rows"] = ("Rows that were given up.", facts.lost)
            told["journal_away"] = ("1: the database is away.", facts.state == "away")
        waiting = sum(sink.waiting for sink in self._events.sinks())
        told["events_waiting"] = ("Events that wait for their sinks.", waiting)
        return told


def config_file(
    path: str, in_thread: Callable[..., Deferred[Any]], reload: Callable[[], Awaitable[bool]]
) -> ConfigFile:
    """The configuration file of a node that was started from C{path}."""
    return ConfigFile(os.path.abspath(path), in_thread, reload)


def _login(config: LoginConfig | None) -> Login | None:
    return Login(config.user, config.password) if config is not None else None
