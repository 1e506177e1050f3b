"""Where streams are recorded, and where segments of sources are kept: C{dvr …;} and C{cache …;}."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from restreamer.config import values
from restreamer.config.blocks import Once, Warn, options, served
from restreamer.config.grammar import Argument, Statement, fault
from restreamer.config.model import CacheConfig, DvrConfig, DvrStoreConfig, S3Config
from restreamer.config.words import CACHE_OPTIONS, DVR_OPTIONS, DVR_STORE

_DEPTH: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_DEPTHS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SIZE: Final = re.compile(r"([0-9]{1,9})([KMGT])")
_SIZES: Final = {"K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_PERCENT: Final = re.compile(r"([0-9]{1,3})%")
_S3: Final = re.compile(
    r"(s3|s3s)://(?:([^:@/\s]+):([^@\s]+)@)?([A-Za-z0-9.-]+(?::[0-9]{1,5})?)/([^/\s@:]+)(/[^\s@:]*)?"
)

MAX_DEPTH: Final = 20 * 366 * 86400
MIN_DEPTH: Final = 60
MIN_SIZE: Final = 10_000_000
MAX_PERCENT: Final = 99
MIN_FSYNC, MAX_FSYNC = 0.1, 60.0
#: Below C{state_dir}: where what goes to an object store waits when C{dvr_spool} names no other place.
SPOOL: Final = "dvr"
#: Seconds for which it stays there when it was copied; and what C{dvr s3://…} and C{copy_depth} keep at
#: least, as an hour is copied and deleted as a whole.
SPOOL_DEPTH: Final = 2 * 3600
MIN_COPY_DEPTH: Final = 3600

_DVR_USAGE: Final = (
    "dvr PATH [7d] [500G] [90%] [replicate]; or dvr @NAME [7d] …; or dvr s3://… [30d]; or dvr false;"
)
_CACHE_USAGE: Final = "cache PATH [2d] [400G] [misses=N]; or cache false;"
_COPY_DEPTH: Final = "a depth from 1h (an hour is copied and deleted as a whole) to 20 years"
_LIMIT: Final = "a depth (90m, 6h, 7d, 2w), a size (500G, 2T), a share of the disk (90%) or replicate"


def read_stores(statements: Sequence[Statement], warn: Warn) -> Mapping[str, DvrStoreConfig]:
    """All C{dvr NAME { root PATH; }} of the top level, by name."""
    stores: dict[str, DvrStoreConfig] = {}
    once = Once("dvr")
    roots = Once("root of a dvr")
    for statement in statements:
        argument = values.arguments(statement, 1, 1, "dvr NAME { root PATH; }")[0]
        name = values.name(statement, argument)
        once.add(name, argument.place, name)
        root = ""
        found: dict[str, Any] = {}
        for each in served(statement.block or (), DVR_STORE, warn):
            if each.word == "root":
                path = values.one(each, "root PATH;")
                root = values.path(each, path, "folder")
                roots.add(root, path.place, path.text)
            elif each.word == "copy":
                found["copy"] = read_s3(each, values.one(each, "copy s3://KEY:SECRET@HOST/BUCKET;"))
            else:
                found["fsync_interval"] = _fsync(each)
        if not root:
            raise statement.error("root PATH; in the block")
        stores[name] = DvrStoreConfig(name=name, root=root, place=statement.place, **found)
    return stores


def _fsync(statement: Statement) -> float:
    argument = values.one(statement, "fsync_interval SECONDS;")
    seconds = values.parse_seconds(argument.text)
    if seconds is None or not MIN_FSYNC <= seconds <= MAX_FSYNC:
        raise values.wrong(statement, argument, f"seconds from {MIN_FSYNC} to {MAX_FSYNC:.0f}")
    return seconds


def read_dvr(
    statement: Statement, stores: Mapping[str, DvrStoreConfig], warn: Warn, spool: str = ""
) -> DvrConfig | None:
    """C{dvr PATH …;} of a stream, a template or a source; C{dvr false;} is none.

    @param spool: where what is recorded by C{dvr s3://…} lies until it is copied; empty: nowhere.
    """
    values.no_block(statement)
    place, *rest = values.arguments(statement, 1, 20, _DVR_USAGE)
    if place.text == "false" and not rest:
        return None
    limits, others = _limits(statement, rest)
    found: dict[str, Any] = dict(limits)
    for argument, key, value in options(statement, others, DVR_OPTIONS, warn):
        if key == "replicate":
            found[key] = values.truth(statement, argument, value, key)
        elif key == "replication_port":
            found[key] = values.number(statement, argument, value or "", 1, 65535)
        elif key == "copy_depth":
            found[key] = _copy_depth(statement, argument, value or "")
        else:
            found[key] = read_s3(statement, argument, (value or "").strip('"'))
    if place.text.startswith("@"):
        store = stores.get(place.text[1:])
        if store is None:
            known = ", ".join(f"@{name}" for name in sorted(stores)) or "there are none"
            raise values.wrong(statement, place, f"@NAME of a dvr block of the top level ({known})")
        found.setdefault("copy", store.copy)
        _copied_at_all(statement, rest, found)
        return DvrConfig(root=store.root, fsync_interval=store.fsync_interval, place=statement.place, **found)
    if place.text.startswith(("s3://", "s3s://")):
        return _in_objects(statement, place, rest, found, spool)
    _no_url(statement, place, _DVR_USAGE)
    _copied_at_all(statement, rest, found)
    return DvrConfig(root=values.path(statement, place, "folder"), place=statement.place, **found)


def _in_objects(
    statement: Statement, place: Argument, rest: Sequence[Argument], found: dict[str, Any], spool: str
) -> DvrConfig:
    """C{dvr s3://… 30d}: C{dvr SPOOL 2h copy=s3://… copy_depth=30d}."""
    for argument in rest:
        if argument.text.startswith(("copy=", "copy_depth=")):
            raise values.wrong(statement, argument, "a depth (30d): the copies are all there is")
    if "size" in found:
        size = next(each for each in rest if _SIZE.fullmatch(each.text))
        raise values.wrong(statement, size, "a depth (30d): nobody counts what an object store has")
    depth: int | None = found.pop("depth", None)
    if depth is not None and depth < MIN_COPY_DEPTH:
        raise values.wrong(statement, next(each for each in rest if _DEPTH.fullmatch(each.text)), _COPY_DEPTH)
    copy = read_s3(statement, place)
    if not spool:
        raise values.wrong(
            statement, place, "state_dir PATH; or dvr_spool PATH; at the top level: a disk to record to first"
        )
    return DvrConfig(
        root=spool,
        depth=SPOOL_DEPTH if depth is None else min(depth, SPOOL_DEPTH),
        copy=copy,
        copy_depth=depth,
        place=statement.place,
        **found,
    )


def _copy_depth(statement: Statement, argument: Argument, text: str) -> int:
    match = _DEPTH.fullmatch(text)
    depth = int(match[1]) * _DEPTHS[match[2]] if match else 0
    if not MIN_COPY_DEPTH <= depth <= MAX_DEPTH:
        raise values.wrong(statement, argument, _COPY_DEPTH)
    return depth


def _copied_at_all(statement: Statement, rest: Sequence[Argument], found: Mapping[str, Any]) -> None:
    if "copy_depth" in found and found.get("copy") is None:
        argument = next(each for each in rest if each.text.startswith("copy_depth="))
        raise values.wrong(statement, argument, "copy=s3://… with it")


def read_cache(statement: Statement, warn: Warn) -> CacheConfig | None:
    """C{cache PATH [age] [size] [misses=N];} of a source; C{cache false;} is none."""
    values.no_block(statement)
    place, *rest = values.arguments(statement, 1, 20, _CACHE_USAGE)
    if place.text == "false" and not rest:
        return None
    limits, others = _limits(statement, rest)
    if "percent" in limits:
        raise values.wrong(statement, rest[0], "an age (2d) and a size (400G)")
    found: dict[str, Any] = {"age": limits.get("depth"), "size": limits.get("size")}
    for argument, key, value in options(statement, others, CACHE_OPTIONS, warn):
        found[key] = values.number(statement, argument, value or "", 0, 1000)
    _no_url(statement, place, _CACHE_USAGE)
    return CacheConfig(root=values.path(statement, place, "folder"), place=statement.place, **found)


def check_apart(places: Iterable[DvrConfig | CacheConfig | DvrStoreConfig | None]) -> None:
    """Check that no folder of archives or segments lies in another: each would take the other's files for
    its own.

    @raise ConfigError: one does; or a cache is where archives are.
    """
    seen: dict[str, DvrConfig | CacheConfig | DvrStoreConfig] = {}
    for each in places:
        if each is None:
            continue
        for root, other in seen.items():
            cache = isinstance(each, CacheConfig) != isinstance(other, CacheConfig)
            if (root == each.root and cache) or _within(root, each.root) or _within(each.root, root):
                where = f"{other.place.path}:{other.place.line}"
                raise fault(each.place, each.root, f"a folder apart from {root} ({where})")
        seen.setdefault(each.root, each)


def _within(inner: str, outer: str) -> bool:
    return inner != outer and os.path.commonpath([inner, outer]) == outer


def _no_url(statement: Statement, place: Argument, usage: str) -> None:
    if "://" in place.text or place.text[:1] == "@":
        raise values.wrong(statement, place, f"the path of a folder: {usage}")


def _limits(statement: Statement, given: Sequence[Argument]) -> tuple[dict[str, int], list[Argument]]:
    """Depth, size and share of the disk among C{given}, in any order, and what is left."""
    found: dict[str, int] = {}
    others: list[Argument] = []
    for argument in given:
        key, value = _limit(statement, argument)
        if not key:
            others.append(argument)
            continue
        if key in found:
            raise values.wrong(statement, argument, f"one {key} only")
        found[key] = value
    return found, others


def _limit(statement: Statement, argument: Argument) -> tuple[str, int]:
    text = argument.text
    if match := _DEPTH.fullmatch(text):
        depth = int(match[1]) * _DEPTHS[match[2]]
        if not MIN_DEPTH <= depth <= MAX_DEPTH:
            raise values.wrong(statement, argument, "a depth from 1m to 20 years")
        return "depth", depth
    if match := _SIZE.fullmatch(text):
        size = int(match[1]) * _SIZES[match[2]]
        if size < MIN_SIZE:
            raise values.wrong(statement, argument, f"a size of at least {MIN_SIZE // 1_000_000}M")
        return "size", size
    if match := _PERCENT.fullmatch(text):
        percent = int(match[1])
        if not 1 <= percent <= MAX_PERCENT:
            raise values.wrong(statement, argument, f"1% to {MAX_PERCENT}%")
        return "percent", percent
    if text[:1].isdigit():
        raise values.wrong(statement, argument, _LIMIT)
    return "", 0


def read_s3(statement: Statement, argument: Argument, text: str | None = None) -> S3Config:
    """C{s3://KEY:SECRET@HOST[:PORT]/BUCKET[/PREFIX]}, C{s3s://} over TLS."""
    match = _S3.fullmatch(argument.text if text is None else text)
    if match is None:
        raise values.wrong(
            statement, argument, "s3://KEY:SECRET@HOST[:PORT]/BUCKET[/PREFIX], or s3s:// over TLS"
        )
    if importlib.util.find_spec("botocore") is None:
        raise values.wrong(statement, argument, "nothing: copies need botocore: pip install 'restreamer[s3]'")
    scheme, key, secret, host, bucket, prefix = match.groups()
    return S3Config(
        endpoint=f"{'https' if scheme == 's3s' else 'http'}://{host}",
        key=key or "",
        secret=secret or "",
        bucket=bucket,
        prefix=(prefix or "").strip("/"),
    )
