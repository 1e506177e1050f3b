"""Asking endpoints as the site does, without a connection."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.web.server import NOT_DONE_YET
from twisted.web.test.requesthelper import DummyRequest

from restreamer.http1.forwarded import TrustedProxies
from restreamer.web.v3.authority import Authority, Login
from restreamer.web.v3.endpoint import BASE, Endpoint, Routes
from restreamer.web.v3.resource import ApiResource

EDITOR = {"authorization": "Basic " + base64.b64encode(b"admin:the-edit-password").decode()}
VIEWER = {"authorization": "Basic " + base64.b64encode(b"view:the-view-password").decode()}

VIEW_LOGIN = Login("view", "the-view-password")
EDIT_LOGIN = Login("admin", "the-edit-password")


@define
class Told:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body) if self.body else None


@define
class Asker:
    """Endpoints with both passwords."""

    endpoints: Sequence[Endpoint]
    clock: Clock = field(factory=Clock)
    view: Login | None = VIEW_LOGIN
    edit: Login | None = EDIT_LOGIN
    proxies: TrustedProxies | None = None
    _resource: ApiResource | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        peer: str = "192.0.2.1",
        headers: dict[str, str] | None = None,
    ) -> Told:
        """Ask; C{path} below the API's, or from the root. @param body: JSON, or bytes as they are."""
        if self._resource is None:
            self._resource = ApiResource(
                Routes(self.endpoints), Authority(self.clock, self.view, self.edit), self.proxies
            )
        full = (
            path if path.startswith(("/streamer", "/monitoring", "/metrics", "/flussonic")) else BASE + path
        )
        way, _, _ = full.partition("?")
        request: Any = DummyRequest(way.encode().split(b"/"))
        request.path = way.encode()
        request.uri = full.encode()
        request.method = method.encode()
        request.getClientAddress = lambda: IPv4Address("TCP", peer, 1)
        given = dict(headers or {})
        if body is not None:
            given.setdefault("content-type", "application/json")
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request.content = BytesIO(data)
        for name, value in given.items():
            request.requestHeaders.addRawHeader(name, value)
        answer = self._resource.render(request)
        if answer == NOT_DONE_YET:
            assert request.finished == 1, "the answer did not come"
            answer = b"".join(request.written)
        assert isinstance(answer, bytes)
        told = {
            name.decode().lower(): values[0].decode()
            for name, values in request.responseHeaders.getAllRawHeaders()
        }
        return Told(request.responseCode or 200, told, answer)
