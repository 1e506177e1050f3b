"""C{auth_backend NAME {…}}: lists that are looked at in order, then backends that are asked all at once."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList

from restreamer.sessions.answers import Answer, Backend, Question, Verdict

Network = IPv4Network | IPv6Network
_GOOD: Final = (Verdict.ALLOW, Verdict.REDIRECT)


@frozen(kw_only=True)
class Rules:
    """The lists of one block. Countries are upper-case; C{ua} are parts of a User-Agent, in any case."""

    allow_tokens: frozenset[str] = frozenset()
    deny_tokens: frozenset[str] = frozenset()
    allow_ips: tuple[Network, ...] = ()
    deny_ips: tuple[Network, ...] = ()
    allow_countries: frozenset[str] = frozenset()
    deny_countries: frozenset[str] = frozenset()
    allow_agents: tuple[str, ...] = ()
    deny_agents: tuple[str, ...] = ()
    allow_default: bool = False

    def decide(self, question: Question) -> bool | None:
        """Whether the lists allow it; None: they say nothing."""
        agent = question.user_agent.lower()
        facts = (
            (question.token in self.allow_tokens, question.token in self.deny_tokens),
            (_within(question.ip, self.allow_ips), _within(question.ip, self.deny_ips)),
            (question.country in self.allow_countries, question.country in self.deny_countries),
            (
                any(each.lower() in agent for each in self.allow_agents),
                any(each.lower() in agent for each in self.deny_agents),
            ),
        )
        for allowed, denied in facts:
            if allowed or denied:
                return allowed
        return None


class RuleBackend:
    """One block, with its backends."""

    def __init__(self, rules: Rules, backends: Sequence[Backend]) -> None:
        self._rules = rules
        self._backends = tuple(backends)

    def ask(self, question: Question) -> Deferred[Answer]:
        """Decide by the lists, else by the backends, else by C{allow default}."""
        return Deferred.fromCoroutine(self._ask(question))

    async def _ask(self, question: Question) -> Answer:
        said = self._rules.decide(question)
        if said is not None:
            verdict = Verdict.ALLOW if said else Verdict.DENY
            return Answer(verdict=verdict, why=f"a list {'allows' if said else 'denies'} it")
        asked = [_asked(each, question) for each in self._backends]
        waiting = DeferredList(asked, consumeErrors=True)
        try:
            answers = [answer for good, answer in await waiting if good]
        except BaseException:
            for each in asked:
                each.cancel()
            raise
        return combined(answers, allow_default=self._rules.allow_default)


def combined(answers: Sequence[Answer], *, allow_default: bool) -> Answer:
    """What several answers amount to: any that allows, else any that denies, else the default."""
    for verdict in (*_GOOD, Verdict.DENY):
        for answer in answers:
            if answer.verdict is verdict:
                return answer
    if allow_default:
        return Answer(verdict=Verdict.ALLOW, why="no backend decided: allowed by default")
    if not answers:
        return Answer(verdict=Verdict.DENY, why="nothing allows it")
    for answer in answers:
        if answer.verdict is Verdict.UNDECIDED:
            return answer
    return answers[0]


def _asked(backend: Backend, question: Question) -> Deferred[Answer]:
    async def ask() -> Answer:
        return await backend.ask(question)

    return Deferred.fromCoroutine(ask())


def _within(ip: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address is in one of C{networks}; C{::ffff:1.2.3.4} is C{1.2.3.4}, a zone id is left out."""
    if not networks:
        return False
    try:
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in each for each in networks)
