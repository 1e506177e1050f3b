"""Lists of the API: pages by cursor, parts of names, filters, order, selected fields (pure).

C{limit=}, C{cursor=}, C{q=}, C{sort=name,-stats.bitrate}, C{select=name,stats.bitrate}; any field of the
entries is a filter by its path, alone or with C{_lt _lte _gt _gte _like _is} behind it; several values are
separated by commas; C{_is=null} and C{_is=not_null} ask whether there is one.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, get_type_hints, is_typeddict

from attrs import define, field, frozen

from restreamer.web.api_error import ApiError
from restreamer.web.v3.endpoint import Parameter

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
#: Characters of C{cursor}, C{q}, C{select}, C{sort} and a filter.
MAX_PARAMETER: Final = 2048
#: Filters in one request, and fields to sort by.
MAX_FILTERS: Final = 16
MAX_SORTS: Final = 4

_UNSIGNED: Final = re.compile(r"[0-9]{1,6}")
_FIELD: Final = r"[a-z0-9_]{1,64}(?:\.[a-z0-9_]{1,64}){0,3}"
_PATH: Final = re.compile(_FIELD)
_SUFFIXES: Final = ("_lte", "_gte", "_lt", "_gt", "_like", "_is")

#: The parameters every list has.
PARAMETERS: Final = (
    Parameter(
        name="limit",
        text=f"Entries of a page; more than {MAX_LIMIT} are given as {MAX_LIMIT}.",
        schema={"type": "integer", "minimum": 1, "maximum": 999_999, "default": DEFAULT_LIMIT},
    ),
    Parameter(
        name="cursor",
        text="A next or prev of an earlier answer.",
        schema={"type": "string", "pattern": "^[A-Za-z0-9_=-]*$"},
    ),
    Parameter(name="q", text="Only entries whose name (or key) has this in it, in either case."),
    Parameter(
        name="sort",
        text="Fields to sort by, separated by commas; a - before one: downwards.",
        schema={"type": "string", "pattern": f"^(-?{_FIELD}(,-?{_FIELD}){{0,{MAX_SORTS - 1}}})?$"},
    ),
    Parameter(
        name="select",
        text="Only these fields, separated by commas; the key is always there.",
        schema={"type": "string", "pattern": f"^({_FIELD}(,{_FIELD})*)?$"},
    ),
)


@frozen
class Filter:
    """One condition. @ivar path: of a field; @ivar how: a suffix without its C{_}, or C{eq}."""

    path: tuple[str, ...]
    how: str
    values: tuple[str, ...]

    def holds(self, entry: Mapping[str, Any]) -> bool:
        """Whether C{entry} fulfils it."""
        value = value_at(entry, self.path)
        if self.how == "is":
            return (value is None) == (self.values[0] == "null")
        if value is None:
            return False
        if isinstance(value, Sequence) and not isinstance(value, str):
            return any(self._compare(each) for each in value)
        return self._compare(value)

    def _compare(self, value: Any) -> bool:
        if self.how == "eq":
            return _shown(value) in self.values
        if self.how == "like":
            return any(each.casefold() in _shown(value).casefold() for each in self.values)
        left: Any = value
        right: Any = self.values[0]
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                right = float(right)
            except ValueError:
                return False
        else:
            left = _shown(value)
        return bool(
            {"lt": left < right, "lte": left <= right, "gt": left > right, "gte": left >= right}[self.how]
        )


@frozen(kw_only=True)
class ListQuery:
    """What is wanted of a list.

    @ivar sorts: (path, downwards). @ivar cursor: (side, position) or None.
    """

    limit: int = DEFAULT_LIMIT
    wanted: str = ""
    filters: tuple[Filter, ...] = ()
    sorts: tuple[tuple[tuple[str, ...], bool], ...] = ()
    fields: tuple[tuple[str, ...], ...] = ()
    cursor: tuple[str, Any] | None = None

    @classmethod
    def of(cls, query: Mapping[str, str], entry: Any, reserved: Iterable[str] = ()) -> ListQuery:
        """Read a query.

        @param entry: the type of the entries: only its fields are filters, other parameters are ignored.
        @param reserved: parameters that mean something else.
        @raise ApiError: 400.
        """
        known = set(get_type_hints(entry)) if is_typeddict(entry) else set()
        taken = {each.name for each in PARAMETERS} | set(reserved)
        filters = [
            _filter(name, value)
            for name, value in query.items()
            if name not in taken and _root(name) in known and _PATH.fullmatch(name)
        ]
        if len(filters) > MAX_FILTERS:
            raise ApiError(400, "bad_filter", f"at most {MAX_FILTERS} filters")
        return cls(
            limit=_limit(query.get("limit")),
            wanted=query.get("q", "")[:MAX_PARAMETER].casefold(),
            filters=tuple(filters),
            sorts=_sorts(query.get("sort", "")),
            fields=_fields(query.get("select", "")),
            cursor=_cursor(query.get("cursor", "")),
        )

    @property
    def plain(self) -> bool:
        """It asks for entries by their keys, so that only those of the page need be looked at."""
        return not self.filters and not self.sorts


@define
class Listing:
    """A list of the API.

    @ivar name: what the envelope calls it. @ivar entry: the type of an entry, a TypedDict.
    @ivar keys: the keys of all entries, in any order. @ivar find: an entry by its key; None: gone.
    @ivar key: the field that is the key. @ivar seconds: monotonic seconds, for C{timing}.
    @ivar searched: the fields C{q} looks at, beside the key. @ivar ordered: their order means something.
    """

    name: str
    entry: Any
    keys: Callable[[], Iterable[str]] = field(repr=False)
    find: Callable[[str], Mapping[str, Any] | None] = field(repr=False)
    seconds: Callable[[], float] = field(repr=False)
    key: str = "name"
    searched: tuple[str, ...] = ()
    ordered: bool = False

    def page(self, query: Mapping[str, str], reserved: Iterable[str] = ()) -> dict[str, Any]:
        """One page.

        @raise ApiError: 400.
        """
        began = self.seconds()
        wanted = ListQuery.of(query, self.entry, reserved)
        shown, total, after, before = self._plain(wanted) if self._simple(wanted) else self._sorted(wanted)
        return {
            self.name: [selected(each, wanted.fields, self.key) for each in shown],
            "estimated_count": total,
            "next": after,
            "prev": before,
            "timing": {"total": round((self.seconds() - began) * 1000)},
        }

    def looks_at_all(self, query: Mapping[str, str], reserved: Iterable[str] = ()) -> bool:
        """Whether L{page} has to look at all entries, not only at those of the page.

        @raise ApiError: 400.
        """
        return not self._simple(ListQuery.of(query, self.entry, reserved))

    def _simple(self, wanted: ListQuery) -> bool:
        return wanted.plain and not self.ordered and not (wanted.wanted and self.searched)

    def _plain(self, wanted: ListQuery) -> tuple[list[Any], int, str | None, str | None]:
        keys = sorted(key for key in self.keys() if wanted.wanted in key.casefold())
        first, last = _window(keys, wanted)
        found = [entry for key in keys[first:last] if (entry := self.find(key)) is not None]
        after = _written("after", keys[last - 1]) if 0 < last < len(keys) else None
        before = _written("before", keys[first]) if 0 < first < len(keys) else None
        return found, len(keys), after, before

    def _sorted(self, wanted: ListQuery) -> tuple[list[Any], int, str | None, str | None]:
        found = []
        for key in self.keys():
            entry = self.find(key)
            if entry is not None and self._matches(key, entry, wanted):
                found.append((key, entry))
        if not self.ordered:
            found.sort(key=lambda pair: pair[0])
        for path, downwards in reversed(wanted.sorts):
            found.sort(key=lambda pair, path=path: _order(value_at(pair[1], path)), reverse=downwards)  # type: ignore[misc]
        keys = [key for key, _ in found]
        first, last = 0, min(wanted.limit, len(found))
        if wanted.cursor is not None:
            side, at = wanted.cursor
            # The entry may be gone, or elsewhere by now: then the page begins where it would.
            index = keys.index(at[0]) if at[0] in keys else min(at[1], len(keys))
            if side == "after":
                first = min(index + (at[0] in keys), len(keys))
                last = min(first + wanted.limit, len(keys))
            else:
                first, last = max(0, index - wanted.limit), index
        after = _written("after", [keys[last - 1], last]) if 0 < last < len(keys) else None
        before = _written("before", [keys[first], first]) if 0 < first < len(keys) else None
        return [entry for _, entry in found[first:last]], len(keys), after, before

    def _matches(self, key: str, entry: Mapping[str, Any], wanted: ListQuery) -> bool:
        if wanted.wanted:
            texts = [key, *(_shown(entry.get(each, "")) for each in self.searched)]
            if not any(wanted.wanted in text.casefold() for text in texts):
                return False
        return all(each.holds(entry) for each in wanted.filters)


def value_at(entry: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The value of a field by its path; None: there is none."""
    value: Any = entry
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def selected(
    entry: Mapping[str, Any], fields: Sequence[Sequence[str]], key: str = "name"
) -> Mapping[str, Any]:
    """Only C{fields} of C{entry}, and its key; all of it without fields."""
    if not fields:
        return entry
    chosen: dict[str, Any] = {key: entry.get(key)}
    for path in fields:
        value = value_at(entry, path)
        if value is None:
            continue
        place = chosen
        for part in path[:-1]:
            deeper = place.get(part)
            if not isinstance(deeper, dict):
                deeper = place[part] = {}
            place = deeper
        place[path[-1]] = value
    return chosen


def _window(keys: Sequence[str], wanted: ListQuery) -> tuple[int, int]:
    if wanted.cursor is None:
        return 0, min(wanted.limit, len(keys))
    side, at = wanted.cursor
    name = at[0] if isinstance(at, list) else at
    if side == "after":
        first = bisect_right(keys, name)
        return first, min(first + wanted.limit, len(keys))
    last = bisect_left(keys, name)
    return max(0, last - wanted.limit), last


def _root(name: str) -> str:
    root = name.partition(".")[0]
    for suffix in _SUFFIXES:
        if "." not in name and root.endswith(suffix):
            return root.removesuffix(suffix)
    return root


def _filter(name: str, value: str) -> Filter:
    if len(value) > MAX_PARAMETER:
        raise ApiError(400, "bad_filter", f"{name} is too long")
    how = "eq"
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            name, how = name.removesuffix(suffix), suffix[1:]
            break
    values = tuple(value.split(","))
    if how == "is" and values not in (("null",), ("not_null",)):
        raise ApiError(400, "bad_filter", f"{name}_is is null or not_null")
    if how in ("lt", "lte", "gt", "gte") and len(values) != 1:
        raise ApiError(400, "bad_filter", f"{name}_{how} takes one value")
    return Filter(tuple(name.split(".")), how, values)


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if _UNSIGNED.fullmatch(text) is None or int(text) == 0:
        raise ApiError(400, "bad_limit", f"limit is a number from 1 to {MAX_LIMIT}")
    return min(int(text), MAX_LIMIT)


def _sorts(text: str) -> tuple[tuple[tuple[str, ...], bool], ...]:
    if not text:
        return ()
    names = text[:MAX_PARAMETER].split(",")
    if len(names) > MAX_SORTS or any(_PATH.fullmatch(each.removeprefix("-")) is None for each in names):
        raise ApiError(400, "bad_sort", f"sort is up to {MAX_SORTS} fields such as name,-stats.bitrate")
    return tuple((tuple(each.removeprefix("-").split(".")), each.startswith("-")) for each in names)


def _fields(text: str) -> tuple[tuple[str, ...], ...]:
    if not text:
        return ()
    paths = text[:MAX_PARAMETER].split(",")
    if any(_PATH.fullmatch(path) is None for path in paths):
        raise ApiError(400, "bad_select", "select is a list of field names such as name,stats.bitrate")
    return tuple(tuple(path.split(".")) for path in paths)


def _written(side: str, at: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([side, at]).encode()).decode("ascii")


def _cursor(text: str) -> tuple[str, Any] | None:
    if not text:
        return None
    try:
        if len(text) > MAX_PARAMETER:
            raise ValueError
        side, at = json.loads(base64.b64decode(text.encode("ascii"), b"-_", validate=True))
        plain = isinstance(at, str)
        placed = isinstance(at, list) and len(at) == 2 and isinstance(at[0], str) and type(at[1]) is int
        if side not in ("after", "before") or not (plain or (placed and at[1] >= 0)):
            raise ValueError
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise ApiError(400, "bad_cursor", "cursor is not one this server gave") from None
    return side, ([at, 0] if plain else at)


def _shown(value: Any) -> str:
    """A value as it stands in JSON; texts without their quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def _order(value: Any) -> tuple[int, float, str]:
    """Something any two values can be compared by: numbers, then texts, then nothing."""
    if isinstance(value, bool | int | float):
        return 0, value, ""
    if value is None:
        return 2, 0, ""
    return 1, 0, _shown(value)
