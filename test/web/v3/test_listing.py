"""Lists: filters, order, pages, selected fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.web.api_error import ApiError, to_json
from restreamer.web.v3.listing import MAX_FILTERS, Listing

_SETTINGS = settings(deadline=None, max_examples=100, derandomize=True)


class Stats(TypedDict, total=False):
    """Inner fields."""

    bitrate: int
    alive: bool
    protos: Sequence[str]


class Entry(TypedDict, total=False):
    """One entry."""

    name: str
    title: str
    stats: Stats


def entry(name: str, bitrate: int | None = None, alive: bool = True, **more: Any) -> dict[str, Any]:
    """An entry."""
    stats: dict[str, Any] = {"alive": alive, "protos": ["hls", "rtmp"]}
    if bitrate is not None:
        stats["bitrate"] = bitrate
    return {"name": name, "title": name.upper(), "stats": stats, **more}


def listing(*entries: Mapping[str, Any]) -> Listing:
    """A list of C{entries}."""
    found = {each["name"]: each for each in entries}
    return Listing("entries", Entry, lambda: list(found), found.get, lambda: 0.0, searched=("title",))


SOME = listing(entry("a", 5), entry("b", 20, False), entry("c"), entry("d", 20))


def names(query: dict[str, str], of: Listing = SOME) -> list[str]:
    """Which entries the first page has."""
    return [each["name"] for each in of.page(query)["entries"]]


class FilterTests(SynchronousTestCase):
    """What is in the list."""

    def test_table(self) -> None:
        for query, wanted in (
            ({}, "abcd"),
            ({"name": "a"}, "a"),
            ({"name": "a,c,x"}, "ac"),
            ({"name_like": "A"}, "a"),
            ({"title": "B"}, "b"),
            ({"stats.bitrate": "20"}, "bd"),
            ({"stats.bitrate_gt": "5"}, "bd"),
            ({"stats.bitrate_gte": "5"}, "abd"),
            ({"stats.bitrate_lt": "20"}, "a"),
            ({"stats.bitrate_lte": "20.5"}, "abd"),
            ({"stats.bitrate_lt": "x"}, ""),
            ({"stats.bitrate_is": "null"}, "c"),
            ({"stats.bitrate_is": "not_null"}, "abd"),
            ({"stats.alive": "false"}, "b"),
            ({"stats.protos": "rtmp"}, "abcd"),
            ({"stats.protos": "dash"}, ""),
            ({"name_gt": "b"}, "cd"),
            ({"stats.alive": "true", "stats.bitrate": "20"}, "d"),
            ({"q": "B"}, "b"),
            ({"none": "1"}, "abcd"),
            ({"none.at": "1", "__class__": "x"}, "abcd"),
            ({"stats.none": "1"}, ""),
            ({"stats": "1"}, ""),
        ):
            with self.subTest(query):
                self.assertEqual("".join(names(query)), wanted)

    def test_bad(self) -> None:
        for query in (
            {"name_is": "x"},
            {"name_lt": "a,b"},
            {"sort": "a b"},
            {"sort": "-"},
            {"sort": "a,b,c,d,e"},
            {"name": "x" * 5000},
            {"limit": "0"},
            {"cursor": "W10="},
            {"cursor": "WyJhZnRlciIsIFsxLDJdXQ=="},
            {f"stats.f{number}": "1" for number in range(MAX_FILTERS + 1)},
        ):
            with self.assertRaises(ApiError) as caught:
                SOME.page(query)
            self.assertEqual(caught.exception.status, 400)


class OrderTests(SynchronousTestCase):
    """In which order, and on which page."""

    def test_sorted(self) -> None:
        for sort, wanted in (
            ("name", "abcd"),
            ("-name", "dcba"),
            ("stats.bitrate", "abdc"),
            ("-stats.bitrate", "cbda"),
            ("-stats.bitrate,-name", "cdba"),
            ("stats.alive,stats.bitrate", "badc"),
            ("none", "abcd"),
        ):
            with self.subTest(sort):
                self.assertEqual("".join(names({"sort": sort})), wanted)

    @_SETTINGS
    @given(
        st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=20),
        st.integers(1, 7),
        st.sampled_from(["", "stats.bitrate", "-stats.bitrate", "stats.alive,-stats.bitrate", "-name"]),
    )
    def test_pages_cover_everything_both_ways(
        self, rates: list[tuple[int, bool]], limit: int, sort: str
    ) -> None:
        made = listing(*[entry(f"{at:02}", rate, alive) for at, (rate, alive) in enumerate(rates)])
        query = {"limit": str(limit), "sort": sort}
        everything = names({"sort": sort}, made)
        seen: list[str] = []
        page = made.page(query)
        while True:
            seen += [each["name"] for each in page["entries"]]
            if page["next"] is None:
                break
            page = made.page({**query, "cursor": page["next"]})
        self.assertEqual(seen, everything)
        back = [each["name"] for each in page["entries"]]
        while page["prev"] is not None:
            page = made.page({**query, "cursor": page["prev"]})
            back = [each["name"] for each in page["entries"]] + back
        self.assertEqual(back, everything)

    def test_the_last_one_is_gone(self) -> None:
        """A page goes on where the entry was."""
        found = {each: entry(each, number) for number, each in enumerate("abcdef")}
        made = Listing("entries", Entry, lambda: list(found), found.get, lambda: 0.0)
        page = made.page({"limit": "2", "sort": "stats.bitrate"})
        del found["b"]
        after = made.page({"limit": "2", "sort": "stats.bitrate", "cursor": page["next"]})
        self.assertEqual([each["name"] for each in after["entries"]], ["d", "e"])

    def test_gone_between_name_and_entry(self) -> None:
        made = Listing("entries", Entry, lambda: ["a", "b"], lambda key: None, lambda: 0.0)
        self.assertEqual(made.page({})["entries"], [])
        self.assertEqual(made.page({"sort": "name"})["entries"], [])

    @_SETTINGS
    @given(
        st.dictionaries(
            st.sampled_from(
                ["limit", "cursor", "q", "select", "sort", "name", "stats.bitrate_lt", "stats_is"]
            ),
            st.text(max_size=30),
        )
    )
    def test_random_queries(self, query: dict[str, str]) -> None:
        try:
            to_json(SOME.page(query))
        except ApiError as error:
            self.assertEqual(error.status, 400)
