"""The API's values: pages of streams, selections, cursors, errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.web.api import StreamApi, StreamInfo
from restreamer.web.api_error import ApiError, to_json

_SETTINGS = settings(deadline=None, max_examples=100, derandomize=True)


class Names:
    """A directory of streams that are nothing but names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)

    def names(self) -> Sequence[str]:
        return self._names

    def info(self, name: str) -> StreamInfo | None:
        if name not in self._names:
            return None
        return {"name": name, "title": "T", "stats": {"alive": True, "bitrate": 5, "status": "running"}}


def api(*names: str) -> StreamApi:
    return StreamApi(Names(names), lambda: 0.0)


def shown(page: dict[str, Any]) -> list[str]:
    return [stream["name"] for stream in page["streams"]]


class Lists(SynchronousTestCase):
    def test_envelope(self) -> None:
        page = api("b", "a").list({})
        self.assertEqual(shown(page), ["a", "b"])
        self.assertEqual(
            {key: page[key] for key in ("estimated_count", "next", "prev", "timing")},
            {"estimated_count": 2, "next": None, "prev": None, "timing": {"total": 0}},
        )
        self.assertEqual(api().list({})["streams"], [])

    def test_search_and_select(self) -> None:
        page = api("News/one", "sport").list({"q": "NEWS", "select": "stats.bitrate,stats.none,title"})
        self.assertEqual(page["streams"], [{"name": "News/one", "stats": {"bitrate": 5}, "title": "T"}])
        page = api("a").list({"select": "stats,stats.bitrate.deep"})
        self.assertEqual(page["streams"][0]["stats"]["bitrate"], 5)

    @_SETTINGS
    @given(st.sets(st.text("abcd/", min_size=1, max_size=4), max_size=25), st.integers(1, 9))
    def test_pages_cover_everything_both_ways(self, names: set[str], limit: int) -> None:
        listing = api(*names)
        seen: list[str] = []
        page = listing.list({"limit": str(limit)})
        while True:
            seen += shown(page)
            if page["next"] is None:
                break
            page = listing.list({"limit": str(limit), "cursor": page["next"]})
        self.assertEqual(seen, sorted(names))
        back = shown(page)
        while page["prev"] is not None:
            page = listing.list({"limit": str(limit), "cursor": page["prev"]})
            back = shown(page) + back
        self.assertEqual(back, sorted(names))

    def test_bad_parameters(self) -> None:
        for query in [
            {"limit": "0"},
            {"limit": "-1"},
            {"limit": "1_0"},
            {"limit": "9" * 5000},
            {"limit": "٣"},
            {"cursor": "x"},
            {"cursor": "é"},
            {"cursor": "W10="},
            {"cursor": "WzEsMl0="},
            {"cursor": "W" * 3000},
            {"select": "a..b"},
            {"select": "__class__,"},
        ]:
            with self.assertRaises(ApiError) as caught:
                api("a").list(query)
            self.assertEqual(caught.exception.status, 400, query)
        self.assertEqual(len(api(*map(str, range(1500))).list({"limit": "999999"})["streams"]), 1000)

    @_SETTINGS
    @given(st.dictionaries(st.sampled_from(["limit", "cursor", "q", "select"]), st.text(max_size=30)))
    def test_random_queries(self, query: dict[str, str]) -> None:
        try:
            to_json(api("a", "b").list(query))
        except ApiError as error:
            self.assertEqual(error.status, 400)

    def test_item(self) -> None:
        self.assertEqual(api("a/b").item("a/b")["name"], "a/b")

    def test_what_operators_note_down(self) -> None:
        """It is not for who proved no password, neither shown nor to be found by filters."""
        noted: Any = {"name": "a", "stats": {}, "comment": "owes us money", "dvr": {"root": "/d"}}
        directory = Names(["a"])
        self.patch(directory, "info", lambda name: noted)
        told = StreamApi(directory, lambda: 0.0)
        self.assertEqual(told.item("a"), {"name": "a", "stats": {}})
        self.assertEqual(told.list({})["streams"], [{"name": "a", "stats": {}}])
        self.assertEqual(told.list({"comment_like": "money"})["streams"], [])
        self.assertEqual(told.list({"comment_like": "money"}, "view")["streams"], [noted])
        self.assertEqual(told.item("a", "edit"), noted)
        for name in ["c", "", "..", "a/../b", "\ud800"]:
            with self.assertRaises(ApiError) as caught:
                api("a/b").item(name)
            self.assertEqual(caught.exception.body()["errors"][0]["status"], "404")


class Json(SynchronousTestCase):
    def test_nothing_html_could_see(self) -> None:
        body = to_json({"a": "</script>\ud800é"})
        self.assertNotIn(b"<", body)
        self.assertEqual(json.loads(to_json({"a": "<b>é"})), {"a": "<b>é"})
