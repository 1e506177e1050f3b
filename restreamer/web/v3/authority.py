"""Who may ask the API what: C{view_auth} and C{edit_auth}, by Basic or Bearer (RFC 7617, RFC 6750).

A Bearer token is the password itself. Wrong passwords are counted by address, and who has sent too many is
refused for a while whatever it sends. No address is trusted for where it is, and no cookie is read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from typing import Final

from attrs import field, frozen

from restreamer.addresses import subscriber
from restreamer.buckets import LeakyBucket
from restreamer.seams import Clock
from restreamer.web.api_error import ApiError
from restreamer.web.v3.endpoint import Access

#: Wrong passwords that an address may send at once, and then in a minute.
GUESSES: Final = 10
GUESSES_A_MINUTE: Final = 6
#: Addresses that are remembered.
MAX_ADDRESSES: Final = 10_000
#: Characters of a header that is looked at.
MAX_HEADER: Final = 1024


@frozen
class Login:
    """A configured C{view_auth} or C{edit_auth}."""

    user: str
    password: str = field(repr=False)


class Authority:
    """Decides on requests.

    @ivar view, edit: what is configured; None: nothing.
    """

    def __init__(self, clock: Clock, view: Login | None = None, edit: Login | None = None) -> None:
        self._clock = clock
        self.view = view
        self.edit = edit
        self._wrong: OrderedDict[str, LeakyBucket] = OrderedDict()

    def check(self, access: Access, header: str, peer: str) -> str:
        """Pass a request, or refuse it.

        @param header: C{Authorization} as sent. @param peer: the client's address.
        @return: C{"edit"}, C{"view"}, or empty for one that nothing is known of.
        @raise ApiError: 401, 403, 429.
        """
        if access is Access.OPEN:
            return ""
        needs_edit = access is Access.EDIT
        if needs_edit and self.edit is None:
            raise ApiError(403, "not_configured", "edit_auth is not configured on this node")
        if access is Access.PRIVATE and self.edit is None and self.view is None:
            raise ApiError(
                403, "not_configured", "neither view_auth nor edit_auth is configured on this node"
            )
        free = access is Access.VIEW and self.view is None
        if not header:
            if free:
                return ""
            raise ApiError(401, "unauthorized", "a password is needed")
        bucket = self._bucket(peer)
        now = self._clock.seconds()
        rate = GUESSES_A_MINUTE / 60
        if bucket is not None and bucket.pour(0, rate, now) >= GUESSES:
            if free:
                return ""  # not even told apart from who knows it
            raise ApiError(429, "too_many_requests", "too many wrong passwords, try again in a minute")
        user = self._who(header[:MAX_HEADER])
        if not user:
            # Where it is free, too: what is told tells whether the password is right.
            self._remember(peer).pour(1, rate, now)
        if not user and not free:
            raise ApiError(401, "unauthorized", "the password is wrong")
        if needs_edit and user != "edit":
            raise ApiError(403, "forbidden", "this needs edit_auth")
        return user

    def _who(self, header: str) -> str:
        scheme, _, given = header.partition(" ")
        user: str | None = None
        password = given.strip()
        if scheme.lower() == "basic":
            try:
                text = base64.b64decode(password.encode("ascii"), validate=True).decode("utf-8")
            except (ValueError, binascii.Error):
                return ""
            user, _, password = text.partition(":")
        elif scheme.lower() != "bearer":
            return ""
        found = ""
        # Both are compared, whatever comes of the first.
        for word, login in (("view", self.view), ("edit", self.edit)):
            if login is None:
                continue
            same = _same(password, login.password)
            if user is not None:
                same &= _same(user, login.user)
            if same:
                found = word
        return found

    def _bucket(self, peer: str) -> LeakyBucket | None:
        return self._wrong.get(subscriber(peer))

    def _remember(self, peer: str) -> LeakyBucket:
        peer = subscriber(peer)
        bucket = self._wrong.get(peer)
        if bucket is None:
            bucket = self._wrong[peer] = LeakyBucket()
        self._wrong.move_to_end(peer)
        while len(self._wrong) > MAX_ADDRESSES:
            self._wrong.popitem(last=False)
        return bucket


def _same(given: str, wanted: str) -> bool:
    # Of equal length for the comparison: how long the wanted one is shows in no time.
    left, right = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (given, wanted))
    return hmac.compare_digest(left, right)
