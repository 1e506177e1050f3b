"""What the schema of ISO/IEC 23009-1 (annex B) says of the elements we write: children in their order, and
the form of each attribute. An element or attribute that is not here is a fault.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import groupby

from attrs import frozen

NAMESPACE = "{urn:mpeg:dash:schema:mpd:2011}"

DURATION = r"PT\d+(\.\d+)?S"
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
INTEGER = r"\d+"
#: xs:unsignedInt.
SMALL = frozenset(("startNumber", "duration", "timescale", "bandwidth", "width", "height"))
REAL = r"\d+(\.\d+)?"
WORD = r"\S+"
#: xs:anyURI as far as it is checked: percent signs that mean a byte, brackets in the host alone (RFC 3986).
URL = r"([a-z]+:)?(//[^/\s]*)?(%[0-9A-Fa-f]{2}|[^%\s\[\]])*"
BOOLEAN = "true|false"


@frozen
class Rule:
    """One element.

    @ivar children: in their order; C{?} at most one, C{*} any number, C{+} one at least.
    @ivar attributes: name to pattern; with a C{!} before the name it must be there.
    """

    children: str
    attributes: dict[str, str]
    text: str = r"\s*"


DESCRIPTOR = Rule("", {"!schemeIdUri": WORD, "value": r"[^\n]*"})
RULES: dict[str, Rule] = {
    "MPD": Rule(
        "BaseURL* ServiceDescription* Period+ UTCTiming*",
        {
            "!profiles": WORD,
            "!type": "dynamic",
            "!availabilityStartTime": MOMENT,
            "!publishTime": MOMENT,
            "!minimumUpdatePeriod": DURATION,
            "!minBufferTime": DURATION,
            "timeShiftBufferDepth": DURATION,
            "suggestedPresentationDelay": DURATION,
            "maxSegmentDuration": DURATION,
        },
    ),
    "BaseURL": Rule("", {}, URL),
    "ServiceDescription": Rule("Latency* PlaybackRate*", {"id": INTEGER}),
    "Latency": Rule("", {"target": INTEGER, "max": INTEGER, "min": INTEGER}),
    "PlaybackRate": Rule("", {"max": REAL, "min": REAL}),
    "UTCTiming": DESCRIPTOR,
    "Role": DESCRIPTOR,
    "AudioChannelConfiguration": DESCRIPTOR,
    "Period": Rule("AdaptationSet*", {"!id": WORD, "!start": DURATION}),
    "AdaptationSet": Rule(
        "Role* Representation+",
        {
            "id": INTEGER,
            "contentType": "video|audio",
            "mimeType": "video/mp4|audio/mp4",
            "lang": "[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*",
            "segmentAlignment": BOOLEAN,
        },
    ),
    "Representation": Rule(
        "AudioChannelConfiguration* SegmentTemplate?",
        {
            "!id": WORD,
            "!bandwidth": INTEGER,
            "!codecs": r"[^\s,\"%]+",
            "width": INTEGER,
            "height": INTEGER,
            "frameRate": r"\d+(/[1-9]\d*)?",
            "audioSamplingRate": INTEGER,
        },
    ),
    "SegmentTemplate": Rule(
        "SegmentTimeline?",
        {
            "!timescale": INTEGER,
            "presentationTimeOffset": INTEGER,
            "!startNumber": INTEGER,
            "!initialization": URL,
            "!media": r"\S*\$Number\$\S*",
            "duration": INTEGER,
            "availabilityTimeOffset": REAL,
            "availabilityTimeComplete": BOOLEAN,
        },
    ),
    "SegmentTimeline": Rule("S+", {}),
    "S": Rule("", {"t": INTEGER, "!d": r"[1-9]\d*", "r": r"-?\d+"}),
}


def checked(text: str) -> ElementTree.Element:
    """The root of a manifest, when the schema holds for it and it has what the live profile wants.

    @raise AssertionError: it does not.
    """
    root = ElementTree.fromstring(text)
    assert root.tag == NAMESPACE + "MPD", root.tag
    _check(root, "")
    for parent in root.iter(NAMESPACE + "Period"):
        names = [each.get("id") for each in parent.iter(NAMESPACE + "Representation")]
        assert len(set(names)) == len(names), f"representations of one name: {names}"
    for template in root.iter(NAMESPACE + "SegmentTemplate"):
        timed = template.find(NAMESPACE + "SegmentTimeline") is not None
        assert timed != ("duration" in template.attrib), "a timeline or a duration, not both"
    return root


def _check(element: ElementTree.Element, where: str) -> None:
    name = element.tag.removeprefix(NAMESPACE)
    where = f"{where}/{name}"
    rule = RULES.get(name)
    assert rule is not None, f"{where} is unknown"
    known = {key.lstrip("!"): pattern for key, pattern in rule.attributes.items()}
    for key, value in element.attrib.items():
        assert key in known, f"{where}@{key} is unknown"
        assert re.fullmatch(known[key], value), f"{where}@{key} is {value!r}"
        assert key not in SMALL or int(value) < 1 << 32, f"{where}@{key} is {value}"
    for key in rule.attributes:
        assert not key.startswith("!") or key[1:] in element.attrib, f"{where}@{key[1:]} is missing"
    assert re.fullmatch(rule.text, element.text or ""), f"{where} holds {element.text!r}"
    runs = [
        (tag.removeprefix(NAMESPACE), len(list(group)))
        for tag, group in groupby(element, key=lambda child: child.tag)
    ]
    for wanted in rule.children.split():
        tag, many = wanted[:-1], wanted[-1]
        count = 0
        if runs and runs[0][0] == tag:
            count = runs.pop(0)[1]
        assert count or many != "+", f"{where} lacks {tag}"
        assert count < 2 or many != "?", f"{where} has {count} times {tag}"
    assert not runs, f"{where}: {runs[0][0]} stands where it must not"
    for child in element:
        _check(child, where)
