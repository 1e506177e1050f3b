"""The rows of a run as a table in Markdown, as JSON, and as plots."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from attrs import define

from bench.machine import median
from bench.scenario import Aim, Row

#: Between these lines of a document stands what a run made.
BEGIN, END = "<!-- begin of the figures -->", "<!-- end of the figures -->"
_CHAPTER = re.compile(r"^(?=### )", re.MULTILINE)
_PICTURE = re.compile(r"^!\[[^]]*\]\(images/([^)]+)\)$", re.MULTILINE)
_HEAD = "| row | ours | peer | ratio | aim | met | load | notes |\n" + "| --- " * 8 + "|\n"


def figure(value: float) -> str:
    """Three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """The median, and the least and the greatest behind it."""
    if not values:
        return ""
    told = figure(median(values))
    return told if len(values) == 1 else f"{told} ({figure(min(values))}-{figure(max(values))})"


def line(row: Row) -> str:
    """One line of the table."""
    aim = row.aim.describe(row.unit, row.peer) if row.aim is not None else ""
    if not row.ours:
        return f"| {row.what} | not measured: {row.skipped or 'out of time'} | | | {aim} | | | |\n"
    met = {None: "", True: "yes", False: "**no**"}[row.met]
    load = f"{row.load * 100:.0f} %" if row.load else ""
    ours = f"{spread(row.ours)} {row.unit}"
    theirs = f"{spread(row.theirs)} {row.peer}" if row.theirs else ""
    return (
        f"| {row.what} | {ours} | {theirs} | {spread(row.ratios)} | {aim} | {met} | {load} | "
        f"{'; '.join(row.notes)} |\n"
    )


def table(parts: Mapping[str, Part]) -> str:
    """All rows, a chapter for each scenario."""
    return "\n".join(
        f"### {part.title}\n\n{part.told}\n\n{_HEAD}{''.join(map(line, part.rows))}"
        for part in parts.values()
    )


@define
class Part:
    """The rows of one scenario.

    @ivar title: its chapter. @ivar told: when, where and how they were measured.
    """

    title: str
    told: str
    rows: list[Row]


def load(path: Path) -> dict[str, Part]:
    """What earlier runs left in C{path}, by scenario; nothing if there is none."""
    if not path.exists():
        return {}
    found = {}
    for name, part in json.loads(path.read_text()).items():
        rows = [Row(**{**row, "aim": Aim(**row["aim"]) if row["aim"] else None}) for row in part["rows"]]
        found[name] = Part(part["title"], part["told"], rows)
    return found


def save(path: Path, parts: Mapping[str, Part]) -> None:
    """Keep C{parts} for L{load}."""
    path.write_text(json.dumps({name: attrs.asdict(part) for name, part in parts.items()}, indent=1))


def document(path: Path, parts: Mapping[str, Part], pictures: Sequence[Path]) -> None:
    """Put tables and pictures into a document, between its two marks; pictures go into C{images} beside it.

    Chapters and pictures that C{parts} has nothing newer for stay as they are: each says when it was made.

    @raise ValueError: it has no such marks.
    """
    before, begin, rest = path.read_text().partition(BEGIN)
    kept, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no {BEGIN} … {END}")
    text, *_ = kept.partition("\n![")
    chapters = {_title(each): each.strip() for each in _CHAPTER.split(text) if each.strip()}
    chapters |= {_title(each): each.strip() for each in _CHAPTER.split(table(parts)) if each.strip()}
    folder = path.parent / "images"
    folder.mkdir(exist_ok=True)
    for picture in pictures:
        (folder / picture.name).write_bytes(picture.read_bytes())
    names = dict.fromkeys([*_PICTURE.findall(kept), *(each.name for each in pictures)])
    shown = "".join(f"\n![{Path(name).stem}](images/{name})\n" for name in names)
    tables = "\n\n".join(chapters.values())
    path.write_text(f"{before}{begin}\n\n{tables}\n{shown}\n{end}{after}")


def _title(chapter: str) -> str:
    return chapter.strip().partition("\n")[0]


def draw(parts: Mapping[str, Part], folder: Path) -> list[Path]:
    """A picture for each scenario: every row's ratio to its peer, or figure to its aim. None without
    matplotlib.
    """
    try:
        import matplotlib
    except ImportError:
        print("no matplotlib: no plots (pip install matplotlib)")
        return []
    matplotlib.use("Agg")
    from matplotlib import pyplot

    made = []
    for name, part in parts.items():
        bars = [bar for row in part.rows if (bar := _bar(row)) is not None]
        if not bars:
            continue
        picture, axes = pyplot.subplots(figsize=(9, 0.8 + 0.42 * len(bars)))
        places = range(len(bars))
        for place, (_, values, limit, met) in zip(places, bars, strict=True):
            middle = median(values)
            errors = [[middle - min(values)], [max(values) - middle]]
            colour = {None: "#7a8ca3", True: "#2e8b57", False: "#c0504d"}[met]
            axes.barh(place, middle, xerr=errors, color=colour, height=0.62, capsize=3)
            if limit is not None:
                axes.plot([limit, limit], [place - 0.42, place + 0.42], color="black", linewidth=2)
        axes.set_yticks(list(places), [bar[0] for bar in bars], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel(
            "ratio to the peer, or figure / aim (black: the aim; lines: least and greatest)", fontsize=8
        )
        axes.set_title(part.title, fontsize=10)
        picture.tight_layout()
        path = folder / f"bench-{name.replace('_', '-')}.png"
        picture.savefig(path, dpi=110)
        pyplot.close(picture)
        made.append(path)
    return made


def _bar(row: Row) -> tuple[str, list[float], float | None, bool | None] | None:
    """(label, figures, aim, met) of a row that can be drawn beside others."""
    if row.ratios and (row.aim is None or row.aim.ratio):
        return f"{row.what} [x {row.peer}]", row.ratios, row.aim.limit if row.aim else None, row.met
    if row.ours and row.aim is not None and row.aim.limit:
        return (
            f"{row.what} [/ {row.aim.limit:g} {row.unit}]",
            [value / row.aim.limit for value in row.ours],
            1.0,
            row.met,
        )
    return None
