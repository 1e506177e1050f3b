"""What a server says in words, as it may be shown in the log and the API (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

_HIDDEN: Final = "***"
#: From this length on a secret is hidden inside of other words, too.
_LONG: Final = 4
#: Most of a server's words that is kept, in characters.
MAX_WORDS: Final = 300


def secrets_of_query(query: str) -> set[str]:
    """C{query}, its parameters and their values: any of them may be a secret."""
    found = {query}
    for pair in query.split("&"):
        found |= {pair, pair.partition("=")[2]}
    return found


def clean_words(words: str, secrets: Iterable[str] = ()) -> str:
    """C{words} without C{secrets}, which servers like to repeat, however they are quoted.

    Characters that do something to a terminal are replaced, and the text is cut.
    """
    hidden = set(secrets)
    hidden |= {unquote(each) for each in hidden}
    text = words[: 16 * MAX_WORDS]
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        if len(secret) >= _LONG:
            text = text.replace(secret, _HIDDEN)
        else:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
    return "".join(each if each.isprintable() else "?" for each in text[:MAX_WORDS])
