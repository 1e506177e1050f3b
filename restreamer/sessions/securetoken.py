"""Links signed with a secret, checked without asking anybody (C{on_play securetoken://KEY;})."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from twisted.internet.defer import Deferred, succeed

from restreamer.sessions.answers import Answer, Question, Verdict

#: C{HASH-SALT-ENDTIME-STARTTIME}: hexadecimal SHA-1, letters and digits, UTC seconds. Nothing stands between
#: address, begin and end in what is hashed; of one length (years 2001 to 2286) no digit of theirs can move.
_TOKEN = re.compile(r"([0-9a-f]{40})-([0-9A-Za-z]{1,64})-([1-9][0-9]{9})-([1-9][0-9]{9})")
MAX_USER_ID: Final = 256
#: Seconds of one answer, when the link holds for longer.
LONGEST: Final = 180.0
_DENY: Final = Verdict.DENY


def sign(key: str, name: str, ip: str, start: int, end: int, salt: str, user_id: str = "") -> str:
    """The token of a link: plays C{name} from C{start} to C{end} (UTC seconds).

    @param ip: the only address it plays from; empty with C{no_check_ip}.
    """
    text = f"{name}{ip}{start}{end}{key}{salt}{user_id}"
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return f"{digest}-{salt}-{end}-{start}"


class SecureToken:
    """Checks tokens that L{sign} made."""

    def __init__(self, key: str, utc_seconds: Callable[[], float], *, check_ip: bool = True) -> None:
        self._key = key
        self._utc_seconds = utc_seconds
        self._check_ip = check_ip

    def ask(self, question: Question) -> Deferred[Answer]:
        """Decide at once."""
        return succeed(self.check(question))

    def check(self, question: Question) -> Answer:
        """What the token of C{question} is worth now."""
        parts = _TOKEN.fullmatch(question.token)
        if parts is None:
            return Answer(verdict=_DENY, why="the token has not the form of a signed link")
        end, start = int(parts[3]), int(parts[4])
        user_id = (
            dict(parse_qsl(question.query, max_num_fields=1000)).get("user_id", "")
            if (question.query.count("&") < 1000)
            else ""
        )
        if len(user_id) > MAX_USER_ID or not user_id.isprintable():
            return Answer(verdict=_DENY, why="the link's user_id is too long or not printable")
        ip = question.ip if self._check_ip else ""
        right = sign(self._key, question.name, ip, start, end, parts[2], user_id)
        if not hmac.compare_digest(right[:40].encode(), parts[1].encode()):
            return Answer(verdict=_DENY, why="the link is not signed for this")
        now = self._utc_seconds()
        if not start <= now < end:
            return Answer(verdict=_DENY, why="the link does not hold now")
        duration = max(1.0, min(LONGEST, end - now))
        return Answer(verdict=Verdict.ALLOW, why="the link is signed", user_id=user_id, duration=duration)
