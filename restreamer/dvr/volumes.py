"""Which volume was at which root when it was used last: kept beside the state of the node.

By this a node knows after a restart that the folder it finds is not the disk it recorded to.
"""

from __future__ import annotations

import json
import os
import threading

from restreamer.logs import Logger

_log = Logger()

FILE_NAME = "volumes.json"
_MAX_FILE = 1 << 20


class Volumes:
    """See the module. Blocks; called in threads but for the reading.

    @param folder: the state folder; empty: nothing is kept.
    """

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, FILE_NAME) if folder else ""
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        if self._path:
            self._load()

    def get(self, root: str) -> str | None:
        """The id of the volume that was at C{root}; None: none was."""
        return self._known.get(root)

    def remember(self, root: str, volume: str) -> None:
        """C{volume} is at C{root}."""
        with self._lock:
            if self._known.get(root) == volume:
                return
            self._known[root] = volume
            if self._path:
                self._save()

    def _save(self) -> None:
        new = self._path + ".new"
        try:
            with open(new, "w", encoding="utf-8") as file:
                json.dump(self._known, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._path)
        except OSError as error:
            _log.error("{path} is not kept: {error}", path=self._path, error=error)

    def _load(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.loads(file.read(_MAX_FILE))
            self._known = {
                root: volume
                for root, volume in found.items()
                if isinstance(root, str) and isinstance(volume, str) and volume
            }
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            _log.error("{path} cannot be used, beginning anew: {error}", path=self._path, error=error)
