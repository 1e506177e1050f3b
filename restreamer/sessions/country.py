"""The country of an address, from a MaxMind database file if there is one."""

from __future__ import annotations

import os
from typing import Any

import maxminddb

from restreamer.logs import Logger

_log = Logger()


class Countries:
    """Looks addresses up; without a readable file every country is empty."""

    def __init__(self) -> None:
        self._reader: Any = None
        self._seen: object = None

    def refresh(self, path: str) -> None:
        """Load the database at C{path} when it is another, was written anew, or could not be read so far."""
        seen = (path, _state(path))
        if seen != self._seen:
            self._seen = seen if self.load(path) else None

    def load(self, path: str) -> bool:
        """Read the database at C{path} into memory (blocks; at start and on reload); empty: have none. One
        that cannot be read leaves what was there.

        @return: whether it could be read.
        """
        if not path:
            self._reader = None
            return True
        try:
            self._reader = maxminddb.open_database(path, maxminddb.MODE_MEMORY)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            _log.error(
                "the country database {path} cannot be read: {why}; {until}",
                path=path,
                why=type(error).__name__,
                until="what was read before holds" if self._reader is not None else "no country is known",
            )
            return False
        return True

    def of(self, ip: str) -> str:
        """ISO 3166-1 alpha-2 of the country of C{ip}; empty when it is not known."""
        if self._reader is None:
            return ""
        try:
            found = self._reader.get(ip.partition("%")[0])
        except (ValueError, maxminddb.InvalidDatabaseError):
            return ""
        country = found.get("country") if isinstance(found, dict) else None
        code = country.get("iso_code") if isinstance(country, dict) else None
        return code if isinstance(code, str) and len(code) == 2 and code.isalpha() else ""


def _state(path: str) -> object:
    """What tells that a file was written or replaced; None: there is none."""
    if not path:
        return None
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
