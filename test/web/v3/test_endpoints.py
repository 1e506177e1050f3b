"""Endpoints: found by path, guarded, described."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, TypedDict

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer.http1.forwarded import TrustedProxies
from restreamer.web.api_error import ApiError
from restreamer.web.v3.authority import GUESSES, Login
from restreamer.web.v3.endpoint import Access, Answered, Call, Endpoint, Routes
from restreamer.web.v3.openapi import document, openapi_endpoint
from test.web.v3.calls import EDITOR, VIEWER, Asker


class Given(TypedDict, total=False):
    """What is sent."""

    number: int
    words: list[str]


class Found(TypedDict):
    """What comes back."""

    name: str


def endpoints() -> list[Endpoint]:
    """One of each kind."""

    def told(call: Call) -> dict[str, Any]:
        return {"name": call.path.get("name", ""), "body": call.body, "user": call.user, **call.query}

    async def later(call: Call) -> dict[str, Any]:
        await Deferred.fromCoroutine(nothing())
        if call.query.get("fail"):
            raise ApiError(409, "busy", "it is busy")
        return told(call)

    async def nothing() -> None:
        return None

    def broken(call: Call) -> Any:
        raise ValueError("a secret detail")

    def made(method: str, path: str, handler: Any = told, **more: Any) -> Endpoint:
        return Endpoint(method=method, path=path, summary="Something.", handler=handler, tag="t", **more)

    return [
        made("GET", "/open", access=Access.OPEN, result=Found),
        made("GET", "/things", result=Found),
        made("GET", "/things/{name}", later, result=Found),
        made("PUT", "/things/{name}", access=Access.EDIT, body=Given, result=Found),
        made("DELETE", "/things/{name}", lambda call: Answered(204), access=Access.EDIT, status=204),
        made("POST", "/things/{name}/stop", lambda call: None, access=Access.EDIT, status=204),
        made("GET", "/private", access=Access.PRIVATE, result=Found),
        made("GET", "/broken", broken, result=Found),
    ]


class DispatchTests(SynchronousTestCase):
    """Who answers."""

    @override
    def setUp(self) -> None:
        self.asker = Asker(endpoints())

    def test_found(self) -> None:
        told = self.asker.ask("GET", "/things/live/a%20b", headers=VIEWER)
        self.assertEqual((told.status, told.json["name"]), (200, "live/a b"))
        self.assertEqual(self.asker.ask("HEAD", "/things", headers=VIEWER).body, b"")
        self.assertEqual(self.asker.ask("POST", "/things/a/b/stop", {}, headers=EDITOR).status, 204)
        self.assertEqual(self.asker.ask("DELETE", "/things/a/b", headers=EDITOR).status, 204)

    def test_errors(self) -> None:
        for method, path, status in (
            ("GET", "/none", 404),
            ("GET", "/", 404),
            ("DELETE", "/things", 405),
            ("PUT", "/things/a/stop/more", 400),
            ("GET", "/things/a?fail=1", 409),
            ("GET", "/things?" + "&".join(f"a{n}=1" for n in range(60)), 400),
            ("GET", "/things?a=1&a=2", 400),
            ("GET", "/broken", 500),
        ):
            told = self.asker.ask(method, path, headers=EDITOR)
            self.assertEqual((told.status, told.json["errors"][0]["status"]), (status, str(status)), path)
            self.assertNotIn(b"secret", told.body)
        self.assertEqual(
            self.asker.ask("PATCH", "/things/a", headers=EDITOR).headers["allow"], "DELETE, GET, HEAD, PUT"
        )
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_bodies(self) -> None:
        """What is no JSON of the right shape is 400, and the text says where it is wrong."""
        good = self.asker.ask("PUT", "/things/a", {"number": 5, "words": ["x"], "other": 1}, headers=EDITOR)
        self.assertEqual((good.status, good.json["body"]), (200, {"number": 5, "words": ["x"]}))
        for body in (
            b"",
            b"{",
            b"[]",
            b"[" * 100_000,
            b'{"number": "5"}',
            b'{"number": NaN}',
            b'{"words": [1]}',
            b'{"number": 1e400}',
            b"\xff\xfe",
        ):
            told = self.asker.ask("PUT", "/things/a", body, headers=EDITOR)
            self.assertEqual(told.status, 400, body[:20])
        told = self.asker.ask("PUT", "/things/a", {"words": [1]}, headers=EDITOR)
        self.assertIn("$.words[0]", told.json["errors"][0]["title"])

    def test_what_a_page_can_send_without_asking(self) -> None:
        """A form, or text, of another site is refused though the browser adds the password (A12)."""
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            headers = {**EDITOR, "content-type": kind}
            self.assertEqual(self.asker.ask("POST", "/things/a/stop", b"{}", headers=headers).status, 415)
            self.assertEqual(self.asker.ask("PUT", "/things/a", b"{}", headers=headers).status, 415)

    def test_without_a_body(self) -> None:
        """A script may leave the type out with the body; a page in a browser, which says so, may not."""
        self.assertEqual(self.asker.ask("POST", "/things/a/stop", headers=EDITOR).status, 204)
        for name, value in (("origin", "null"), ("sec-fetch-site", "cross-site"), ("content-type", "")):
            told = self.asker.ask("POST", "/things/a/stop", headers={**EDITOR, name: value})
            self.assertEqual(told.status, 415, name)

    def test_two_of_one_kind(self) -> None:
        with self.assertRaises(ValueError):
            Routes([*endpoints(), endpoints()[0]])


class AuthorityTests(SynchronousTestCase):
    """Who may."""

    def status(self, asker: Asker, path: str, headers: dict[str, str], peer: str = "192.0.2.1") -> int:
        method = "DELETE" if path.startswith("/things/") else "GET"
        return asker.ask(method, path, headers=headers, peer=peer).status

    def test_table(self) -> None:
        bearer = {"authorization": "Bearer the-edit-password"}
        wrong = {"authorization": "Bearer wrong"}
        view, edit = Login("view", "the-view-password"), Login("admin", "the-edit-password")
        paths = ("/open", "/things", "/private", "/things/a")
        for view_login, edit_login, headers, wanted in (
            (None, None, {}, (200, 200, 403, 403)),
            (None, None, VIEWER, (200, 200, 401, 403)),
            (view, None, {}, (200, 401, 401, 403)),
            (view, None, VIEWER, (200, 200, 200, 403)),
            (None, edit, {}, (200, 200, 401, 401)),
            (None, edit, EDITOR, (200, 200, 200, 204)),
            (view, edit, {}, (200, 401, 401, 401)),
            (view, edit, VIEWER, (200, 200, 200, 403)),
            (view, edit, EDITOR, (200, 200, 200, 204)),
            (view, edit, bearer, (200, 200, 200, 204)),
            (view, edit, wrong, (200, 401, 401, 401)),
            (view, edit, {"authorization": "Basic !!"}, (200, 401, 401, 401)),
            (view, edit, {"authorization": "Digest x"}, (200, 401, 401, 401)),
            (view, edit, {"authorization": "Basic " + "A" * 5000}, (200, 401, 401, 401)),
        ):
            with self.subTest((view_login, edit_login, headers)):
                asker = Asker(endpoints(), view=view_login, edit=edit_login)
                if (view_login, edit_login) == (None, None) and headers:
                    wanted = (200, 200, 403, 403)
                self.assertEqual(tuple(self.status(asker, path, headers) for path in paths), wanted)

    def test_the_place_is_no_password(self) -> None:
        """Nobody may more for being, or saying to be, on this machine (A09)."""
        asker = Asker(endpoints())
        for peer in ("127.0.0.1", "::1", "unix"):
            self.assertEqual(self.status(asker, "/things/a", {"x-forwarded-for": "127.0.0.1"}, peer), 401)

    def test_guessing(self) -> None:
        """Who guesses is refused for a while, also with the right password; others are not."""
        asker = Asker(endpoints())
        wrong = {"authorization": "Bearer wrong"}
        for _ in range(GUESSES):
            self.assertEqual(self.status(asker, "/things", wrong), 401)
        told = asker.ask("GET", "/things", headers=EDITOR)
        self.assertEqual((told.status, told.headers["retry-after"]), (429, "60"))
        self.assertEqual(self.status(asker, "/things", EDITOR, "192.0.2.2"), 200)
        asker.clock.advance(60)
        self.assertEqual(self.status(asker, "/things", EDITOR), 200)

    def test_guessing_where_no_password_is_needed(self) -> None:
        """What everybody may see tells more to who knows a password: that is no way to guess it."""
        asker = Asker(endpoints(), view=None)
        for _ in range(GUESSES):
            told = asker.ask("GET", "/things", headers={"authorization": "Bearer wrong"})
            self.assertEqual((told.status, told.json["user"]), (200, ""))
        told = asker.ask("GET", "/things", headers=EDITOR)
        self.assertEqual((told.status, told.json["user"]), (200, ""))
        self.assertEqual(self.status(asker, "/private", EDITOR), 429)
        self.assertEqual(asker.ask("GET", "/things", headers=EDITOR, peer="192.0.2.2").json["user"], "edit")
        asker.clock.advance(60)
        self.assertEqual(asker.ask("GET", "/things", headers=EDITOR).json["user"], "edit")

    def test_guesses_behind_a_proxy(self) -> None:
        """Who guesses behind a proxy of ours is refused, not the proxy; what others say is not believed."""
        asker = Asker(endpoints(), proxies=TrustedProxies([ip_network("192.0.2.1/32")]))
        first = {"x-forwarded-for": "198.51.100.1"}
        for number in range(GUESSES):
            self.assertEqual(self.status(asker, "/things", {"authorization": "Bearer no", **first}), 401)
            other = {"authorization": "Bearer no", "x-forwarded-for": f"203.0.113.{number}"}
            self.assertEqual(self.status(asker, "/things", other, "192.0.2.9"), 401)
        self.assertEqual(self.status(asker, "/things", {**EDITOR, **first}), 429)
        self.assertEqual(self.status(asker, "/things", {**EDITOR, "x-forwarded-for": "198.51.100.2"}), 200)
        self.assertEqual(self.status(asker, "/things", EDITOR), 200)
        spared = {**EDITOR, "x-forwarded-for": "203.0.113.99"}
        self.assertEqual(self.status(asker, "/things", spared, "192.0.2.9"), 429)

    def test_guesses_of_a_network(self) -> None:
        """Who has an IPv6 network has all its addresses: they count as one (RFC 6177)."""
        asker = Asker(endpoints())
        for number in range(GUESSES):
            status = self.status(asker, "/things", {"authorization": "Bearer no"}, f"2001:db8::{number:x}:1")
            self.assertEqual(status, 401)
        self.assertEqual(self.status(asker, "/things", EDITOR, "2001:db8::ffff"), 429)
        self.assertEqual(self.status(asker, "/things", EDITOR, "2001:db8:0:1::1"), 200)

    def test_asked_for(self) -> None:
        told = Asker(endpoints()).ask("GET", "/things")
        self.assertIn("Basic", told.headers["www-authenticate"])

    def test_no_secret_is_shown(self) -> None:
        self.assertNotIn("hidden", repr(Login("u", "hidden")))


class DocumentTests(SynchronousTestCase):
    """The OpenAPI document."""

    def test_it_tells_of_everything(self) -> None:
        all_of_them = endpoints()
        told = document(all_of_them, "1")
        self.assertEqual(
            {(method.upper(), path) for path, methods in told["paths"].items() for method in methods},
            {(each.method, each.full_path) for each in all_of_them},
        )
        put = told["paths"]["/streamer/api/v3/things/{name}"]["put"]
        self.assertEqual(put["security"], [{"basic": []}, {"bearer": []}])
        self.assertEqual(
            put["requestBody"]["content"]["application/json"]["schema"],
            {"$ref": "#/components/schemas/Given"},
        )
        self.assertLessEqual({"200", "400", "401", "403", "404", "415"}, set(put["responses"]))
        self.assertIn("Errors", told["components"]["schemas"])

    def test_it_is_served(self) -> None:
        some = endpoints()
        told = Asker([*some, openapi_endpoint(some)]).ask("GET", "/openapi.json")
        self.assertEqual((told.status, told.json["openapi"]), (200, "3.1.0"))
        self.assertIn("/streamer/api/v3/openapi.json", told.json["paths"])
