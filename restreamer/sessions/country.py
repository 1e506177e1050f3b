"""The country of an address, from a MaxMind database file if there is one."""

from __future__ import annotations

from typing import Any

import maxminddb

from restreamer.logs import Logger

_log = Logger()


class Countries:
    """Looks addresses up; without a readable file every country is empty."""

    def __init__(self) -> None:
        self._reader: Any = None

    def load(self, path: str) -> None:
        """Read the database at C{path} into memory (blocks; at start and on reload); empty: have none. One
        that cannot be read leaves what was there."""
        if not path:
            self._reader = None
            return
        try:
            self._reader = maxminddb.open_database(path, maxminddb.MODE_MEMORY)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            _log.error(
                "the country database {path} cannot be read: {why}", path=path, why=type(error).__name__
            )

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
