"""What others ask of servers of this family, made as they make it: exporters, monitoring scripts, Kodi."""

from __future__ import annotations

import base64
import http.client
import re
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from typing_extensions import override

from test.e2e.nodes import Answer, Node, get, wait_until
from test.e2e.shared import Stage, StageCase

STREAM = "live/news"
LOGIN = {"Authorization": "Basic " + base64.b64encode(b"viewer:look-at-the-things").decode()}
BODY = """view_auth viewer look-at-the-things;
vod films {{ storage {folder}; }}
stream idle {{ input publish://; title Idle; comment "not on air"; }}
stream live/news {{ input publish://; title "The news"; comment "studio 1"; segment_duration 1;
  dvr {folder}/archive 2d 90%; }}
"""
NUMBER, WORD, FLAG, LIST = (int, float), (str,), (bool,), (list,)
#: Who asks, what for, and what is read out of the answer (C{[]}: of each entry) as what.
READ: tuple[tuple[str, str, dict[str, tuple[type, ...]]], ...] = (
    (
        "an exporter of the old calls: streams",
        "/flussonic/api/media",
        {
            "[].entry": WORD,
            "[].value.name": WORD,
            "[].value.options.title": WORD,
            "[].value.options.comment": WORD,
            "[].value.stats.alive": FLAG,
            "[].value.stats.bitrate": NUMBER,
            "[].value.stats.client_count": NUMBER,
            "[].value.stats.dvr_enabled": FLAG,
            "[].value.stats.input_error_rate": NUMBER,
            "[].value.stats.media_info.tracks": LIST,
            "[].value.stats.retry_count": NUMBER,
            "[].value.stats.running_transcoder": FLAG,
            "[].value.urls[].value": WORD,
        },
    ),
    (
        "an exporter of the old calls: clients by type",
        "/flussonic/api/sessions",
        {"event": WORD, "sessions[].type": WORD, "sessions[].name": WORD, "sessions[].ip": WORD},
    ),
    ("the same, of one stream", f"/flussonic/api/sessions?name={STREAM}", {"sessions[].id": WORD}),
    (
        "scripts of monitoring",
        "/flussonic/api/server",
        {
            "version": WORD,
            "hostname": WORD,
            "uptime": NUMBER,
            "total_clients": NUMBER,
            "total_streams": NUMBER,
            "online_streams": NUMBER,
            "cpu_usage": NUMBER,
            "memory_usage": NUMBER,
            "scheduler_load": NUMBER,
            "input_kbit": NUMBER,
            "output_kbit": NUMBER,
        },
    ),
    ("panels", "/flussonic/api/streams", {"event": WORD, "streams[].name": WORD, "streams[].alive": FLAG}),
    (
        "panels: tracks",
        f"/flussonic/api/media_info/{STREAM}",
        {"tracks[].codec": WORD, "tracks[].content": WORD, "tracks[].bitrate": NUMBER},
    ),
    (
        "an exporter of v3: streams",
        "/streamer/api/v3/streams?limit=500",
        {
            "streams[].name": WORD,
            "streams[].title": WORD,
            "streams[].stats.status": WORD,
            "streams[].stats.bytes_in": NUMBER,
            "streams[].stats.online_clients": NUMBER,
            "estimated_count": NUMBER,
        },
    ),
    (
        "an exporter of v3: what runs",
        "/streamer/api/v3/streams?stats.alive=true&select=name,title,dvr.expiration,stats.lifetime,inputs",
        {
            "streams[].dvr.expiration": NUMBER,
            "streams[].stats.lifetime": NUMBER,
            "streams[].inputs[].url": WORD,
            "streams[].inputs[].stats.bytes": NUMBER,
            "streams[].inputs[].stats.errors": NUMBER,
            "streams[].inputs[].stats.input_switches": NUMBER,
        },
    ),
    (
        "an exporter of v3: the server",
        "/streamer/api/v3/config/stats",
        {
            "uptime": NUMBER,
            "total_clients": NUMBER,
            "total_streams": NUMBER,
            "online_streams": NUMBER,
            "cpu_usage": NUMBER,
            "memory_usage": NUMBER,
        },
    ),
    (
        "an exporter of v3: archives",
        "/streamer/api/v3/dvrs",
        {"dvrs[].root": WORD, "dvrs[].disk_used_percent": NUMBER, "dvrs[].write_kbit": NUMBER},
    ),
    (
        "billing",
        f"/streamer/api/v3/sessions?name={STREAM}&limit=1000&sort=-opened_at",
        {
            "sessions[].id": WORD,
            "sessions[].ip": WORD,
            "sessions[].proto": WORD,
            "sessions[].opened_at": NUMBER,
            "sessions[].bytes": NUMBER,
        },
    ),
    ("a balancer's probe", "/streamer/api/v3/monitoring/readiness", {"server_version": WORD, "now": NUMBER}),
)
#: Addresses of one channel in a list, as Kodi gets them.
CHANNELS = (
    f"/{STREAM}/mpegts?token=abc",
    f"/{STREAM}/index.m3u8?token=abc",
    f"/{STREAM}/mono.m3u8",
    f"/{STREAM}/video.m3u8?token=abc",
)
_KODI = re.compile(r"^(https?://[^/]+)/(.*)/([^/]*)(mpegts|\.m3u8)(\?.+=.+)?$")


def kodi(url: str) -> str:
    """The catch-up address that pvr.iptvsimple makes of that of a channel (catchup="flussonic")."""
    match = _KODI.match(url)
    assert match is not None, url
    host, channel, kind, form, more = match.groups("")
    if form == "mpegts":
        return f"{host}/{channel}/timeshift_abs-${{start}}.ts{more}"
    kind = "" if kind == "index" else kind + "-"
    return f"{host}/{channel}/{kind}timeshift_rel-{{offset:1}}.m3u8{more}"


def values(told: Any, path: str) -> Iterator[Any]:
    """What C{path} leads to in an answer."""
    word, _, rest = path.partition(".")
    name, each, _ = word.partition("[]")
    if name:
        told = told[name]
    for one in told if each else (told,):
        if rest:
            yield from values(one, rest)
        else:
            yield one


class OtherClients(StageCase):
    """A node with a stream that is recorded and watched, and one that is not on air."""

    node: ClassVar[Node]

    @classmethod
    @override
    def build(cls, stage: Stage) -> None:
        cls.node = stage.node("node", BODY.format(folder=stage.folder))
        stage.publish(cls.node, STREAM)

    @override
    def setUp(self) -> None:
        super().setUp()
        wait_until(self._recorded, 30.0, "some is recorded")

    def _recorded(self) -> bool:
        answer = self.node.get(f"/{STREAM}/recording_status.json")
        ranges = answer.json()[0]["ranges"] if answer.status == 200 else []
        return bool(ranges) and ranges[0]["duration"] >= 11

    def test_monitoring(self) -> None:
        """Each gets what it parses, of the type it parses it as."""
        self.node.get(f"/{STREAM}/index.m3u8?token=one")
        for who, path, fields in READ:
            with self.subTest(who):
                answer = self.node.get(path, headers=LOGIN)
                self.assertEqual(answer.status, 200)
                for field, kinds in fields.items():
                    found = list(values(answer.json(), field))
                    self.assertTrue(found, field)
                    for each in found:
                        self.assertIs(isinstance(each, bool), kinds is FLAG, (field, each))
                        self.assertIsInstance(each, kinds, field)
        told = {each["value"]["name"]: each["value"] for each in self._json("/flussonic/api/media")}
        self.assertEqual(told["idle"]["options"]["comment"], "not on air")
        self.assertEqual((told["idle"]["stats"]["alive"], told[STREAM]["stats"]["alive"]), (False, True))
        self.assertEqual(len(told[STREAM]["stats"]["media_info"]["tracks"]), 2)
        self.assertIs(self._json(f"/flussonic/api/stream_health/{STREAM}"), True)
        self.assertEqual(self.node.get("/flussonic/api/stream_health/idle", headers=LOGIN).status, 424)
        (one,) = self._json("/streamer/api/v3/streams?stats.alive=true")["streams"]
        self.assertEqual(one["dvr"]["expiration"], 2 * 86400)

    def _json(self, path: str) -> Any:
        return self.node.get(path, headers=LOGIN).json()

    def test_kodi(self) -> None:
        """The rules of its add-on lead to the past of each kind of address."""
        for channel in CHANNELS:
            with self.subTest(channel):
                url = kodi(f"http://127.0.0.1:{self.node.http}{channel}")
                url = url.replace("${start}", str(int(time.time()) - 7)).replace("{offset:1}", "7")
                path = url.partition(str(self.node.http))[2]
                if "mpegts" in channel:
                    self.assertTrue(self._begin(channel).startswith(b"\x47"))
                    self.assertTrue(self._begin(path).startswith(b"\x47"))
                    continue
                for each in (channel, path):
                    playlist, at = self._media_playlist(each)
                    uri = next(line for line in playlist.splitlines() if line and line[0] != "#")
                    segment = get(self.node.http, at.rpartition("/")[0] + "/" + uri)
                    self.assertEqual((segment.status, segment.body[:1]), (200, b"\x47"), (each, uri))

    def _media_playlist(self, path: str) -> tuple[str, str]:
        """The playlist at C{path}, or the first that it leads to; and where that is."""
        answer: Answer = get(self.node.http, path)
        self.assertEqual(answer.status, 200, path)
        text = answer.body.decode()
        if "#EXT-X-STREAM-INF" not in text:
            return text, path.partition("?")[0]
        uri = next(line for line in text.splitlines() if line and line[0] != "#")
        return self._media_playlist(path.partition("?")[0].rpartition("/")[0] + "/" + uri)

    def _begin(self, path: str) -> bytes:
        """The first packet of a stream without end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.node.http, timeout=10.0)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            self.assertEqual(answer.status, 200, path)
            return answer.read(188)
        finally:
            connection.close()
