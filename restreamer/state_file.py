"""What a node keeps on disk between starts: its id, a secret, the last numbers of its streams."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable

from restreamer.live.ledger import Ledger
from restreamer.logs import Logger

_log = Logger()

FILE_NAME = "node.json"
NODE_ID_SIZE = 16
SECRET_SIZE = 32


class StateFile:
    """C{node.json} in the state folder: replaced whole, so it is never half written.

    @param folder: the state folder, made when it is missing; empty: nothing is kept.
    @param fresh_id: makes a node id, or a secret, of so many bytes when there is none.
    @ivar node_id: this node's 16 bytes. @ivar ledger: the last numbers.
    @ivar secret: 32 bytes that only this node knows: viewers' tokens are made with it.
    """

    def __init__(self, folder: str, fresh_id: Callable[[int], bytes]) -> None:
        self.ledger = Ledger()
        self.node_id = self.secret = b""
        self._trouble = ""
        self._path = os.path.join(folder, FILE_NAME) if folder else ""
        if folder:
            self._load(folder)
        if len(self.node_id) != NODE_ID_SIZE or len(self.secret) != SECRET_SIZE:
            if len(self.node_id) != NODE_ID_SIZE:
                self.node_id = fresh_id(NODE_ID_SIZE)
            self.secret = fresh_id(SECRET_SIZE)
            self.ledger.changed = True
            self.save()

    def save(self) -> None:
        """Write what changed since the last call."""
        text = self.changes()
        if text is not None:
            self.write(text)

    def changes(self) -> str | None:
        """The file's new text when something changed since the last call, else None."""
        if not self._path or not self.ledger.changed:
            return None
        self.ledger.changed = False
        kept = {"node_id": self.node_id.hex(), "secret": self.secret.hex(), "streams": self.ledger.rows()}
        return json.dumps(kept)

    def write(self, text: str) -> None:
        """Replace the file by C{text}. Blocks on the disk: a running node calls it in a thread."""
        # A name of its own per writer: the last write of a stopping node must not meet one in a thread.
        part = f"{self._path}.{threading.get_ident()}"
        try:
            with open(part, "w", encoding="utf-8", opener=_for_us_alone) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self._path)
        except OSError as error:
            self.ledger.changed = True
            why = error.strerror or str(error)
            if why != self._trouble:
                _log.error("state is not kept: {path}: {why}", path=self._path, why=why)
            self._trouble = why
        else:
            self._trouble = ""

    def _load(self, folder: str) -> None:
        try:
            os.makedirs(folder, mode=0o750, exist_ok=True)
            with open(self._path, encoding="utf-8") as file:
                state = json.load(file)
            self.node_id = bytes.fromhex(state["node_id"])
            self.ledger.restore(state["streams"])
            secret = state.get("secret", "")
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            _log.error("{path} cannot be used, beginning anew: {error}", path=self._path, error=error)
            return
        try:
            self.secret = bytes.fromhex(secret)
        except (ValueError, TypeError):
            _log.error("{path} has a bad secret, making another", path=self._path)


def _for_us_alone(path: str, flags: int) -> int:
    """Open a file that others may not read."""
    return os.open(path, flags, 0o600)
