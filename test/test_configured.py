"""What the API tells of the configuration: what there is, and no secret of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from restreamer import configured
from restreamer.config.load import parse
from restreamer.web.api import StreamInfo
from restreamer.web.v3.configured import configured_endpoints
from test.web.v3.calls import VIEWER, Asker

CONFIG = parse("""
http 10.0.0.1:8080;
https 443;
rtmp 1935;
ssl_certificate /c.pem;
auth_backend door {
  allow token hush-allowed;
  allow country DE FR;
  deny ip 192.0.2.0/24;
  backend http://h/auth?key=hush-key;
}
vod films { storage /a; storage /b; on_play http://h/x; }
vod open { storage /c; }
template live {
  prefix live;
  input publish://;
  push rtmp://h/app/hush-stream-key;
  password hush-password;
  comment "taken by template";
  dvr /dvr 7d 500G 90%;
}
template plain { input rtmp://u:hush-input@h/a/b; protocols hls dash; }
stream one { template plain; title One; comment mine; }
""").configuration


class Streams:
    """A directory in which every name runs."""

    def names(self) -> Sequence[str]:
        return ["one", "live/x", "far"]

    def info(self, name: str) -> StreamInfo | None:
        return None if name == "none" else {"name": name, "stats": {}}


class Told(SynchronousTestCase):
    """Collections and streams."""

    @override
    def setUp(self) -> None:
        self.asker = Asker(
            configured_endpoints(
                lambda: configured.templates(CONFIG),
                lambda: configured.vods(CONFIG),
                lambda: configured.auth_backends(CONFIG),
                lambda: 0.0,
            )
        )

    def get(self, path: str, status: int = 200) -> Any:
        """What a viewer of the API is told."""
        told = self.asker.ask("GET", path, headers=VIEWER)
        self.assertEqual(told.status, status, path)
        self.assertNotIn(b"hush", told.body)
        return told.json

    def test_templates(self) -> None:
        told = self.get("/templates")
        self.assertEqual([each["name"] for each in told["templates"]], ["live", "plain"])
        live = self.get("/templates/live")
        self.assertEqual((live["dvr"], live["guarded"], live["position"]), ("/dvr", True, 0))
        self.assertEqual(self.get("/templates/plain")["protocols"], ["dash", "hls"])
        page = self.get("/templates?limit=1&select=prefix&sort=-name")
        self.assertEqual(page["templates"], [{"name": "plain", "prefix": ""}])
        self.assertEqual(self.get(f"/templates?cursor={page['next']}&sort=-name")["templates"][0], live)
        self.get("/templates/none", 404)

    def test_vods(self) -> None:
        films = {"name": "films", "position": 0, "storages": [{"url": "/a"}, {"url": "/b"}], "guarded": True}
        self.assertEqual(self.get("/vods")["vods"][0], films)
        self.assertEqual(self.get("/vods?guarded=false")["vods"][0]["name"], "open")
        self.assertEqual(self.get("/vods/films"), films)

    def test_auth_backends(self) -> None:
        told = self.get("/auth_backends/door")
        self.assertEqual(
            (told["allow"]["tokens"], told["allow"]["countries"], told["deny"]["ips"]), (1, 2, 1)
        )
        self.assertEqual(len(told["backends"]), 1)

    def test_listeners(self) -> None:
        told = [
            (each["protocol"], each["port"], each["tls"], each["api"])
            for each in configured.listeners(CONFIG)
        ]
        self.assertEqual(
            told, [("http", 8080, False, True), ("https", 443, True, True), ("rtmp", 1935, False, False)]
        )
        self.assertEqual(configured.listeners(CONFIG)[0]["address"], "10.0.0.1")

    def test_streams(self) -> None:
        streams = configured.ConfiguredStreams(Streams(), lambda: CONFIG)
        self.assertEqual(len(streams.names()), 3)
        self.assertIs(streams.info("none"), None)
        self.assertEqual(streams.info("far"), {"name": "far", "stats": {}})
        self.assertEqual(
            streams.info("one"), {"name": "one", "stats": {}, "comment": "mine", "template": "plain"}
        )
        live = streams.info("live/x")
        assert live is not None
        self.assertEqual((live["comment"], live["template"]), ("taken by template", "live"))
        wanted = {
            "root": "/dvr",
            "expiration": 7 * 86400,
            "disk_usage_limit": 90,
            "storage_limit": 500 * 10**9,
        }
        self.assertEqual(live["dvr"], wanted)
        self.assertNotIn("hush", json.dumps(live))
