"""Showing pieces of a file without its secrets: in errors and in the line a caret points at."""

from __future__ import annotations

import difflib
import functools
import re

from restreamer.config.words import HIDDEN_WORDS, SECRET_WORDS

HIDDEN = "***"
_USERINFO = re.compile(r"(?:(?<=://)\S*|^(?!\S*://)\S+)@")
_QUERY = re.compile(r"\?.*", re.DOTALL)
_KEY_URL = re.compile(r"^(securetoken://).*", re.DOTALL)
_STREAM_KEY = re.compile(r"^(rtmps?://[^/]*/).+", re.DOTALL | re.IGNORECASE)
_ASSIGNED = re.compile(r"^([A-Za-z_]*(?:key|password|token|secret)[A-Za-z_]*=).*", re.DOTALL | re.IGNORECASE)
_PIECE = re.compile(r'#[^\n]*|[;{}]|"(?:[^"\\\n]|\\[^\n])*"?|[^\s";{}]+|\s+')


def shown_url(text: str) -> str:
    """C{text} without user, password, query, signing key and (RTMP) stream key."""
    text = _KEY_URL.sub(rf"\1{HIDDEN}", text)
    text = _STREAM_KEY.sub(rf"\1{HIDDEN}", text)
    text = _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    return _QUERY.sub(f"?{HIDDEN}", _USERINFO.sub(f"{HIDDEN}@", text))


def shown_argument(word: str, text: str) -> str:
    """An argument of directive C{word} as an error may show it."""
    return HIDDEN if word in HIDDEN_WORDS else shown_url(text)


@functools.lru_cache(maxsize=1024)
def _secret_like(word: str) -> bool:
    if word in HIDDEN_WORDS:
        return True
    return bool(difflib.get_close_matches(word[:64].lower(), sorted(SECRET_WORDS), n=1, cutoff=0.6))


def _blank(piece: str) -> str:
    return "".join(each if each.isspace() else "*" for each in piece)


def masked(text: str) -> str:
    """C{text} with every secret replaced by as many stars, so that lines and columns stay.

    Arguments of secret words and of words spelt nearly like one, and URLs that carry user, query or key.
    """
    parts: list[str] = []
    secret = False
    at_start = True
    for match in _PIECE.finditer(text):
        piece = match.group()
        if piece[0].isspace() or piece[0] == "#":
            parts.append(piece)
        elif piece in ";{}":
            secret, at_start = False, True
            parts.append(piece)
        elif at_start and "@" not in piece:
            secret, at_start = _secret_like(piece), False
            parts.append(piece)
        elif secret or shown_url(piece.strip('"')) != piece.strip('"'):
            parts.append(_blank(piece))
        else:
            parts.append(piece)
    return "".join(parts)
