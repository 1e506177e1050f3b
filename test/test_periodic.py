"""Jobs that are done again and again outlive an error in one turn of theirs (A21).

Found in the source: methods that arm a delayed call of themselves, directly or by another method of theirs.
Each must arm the next turn before anything that may fail, or in a C{finally}, or after a C{try} that lets
nothing through. What is not periodic in that sense is listed with the reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import restreamer
from restreamer.logs import FaultCount, Logger
from twisted import logger

#: Calls that do not fail, or belong to arming.
_HARMLESS = frozenset({"seconds", "cancel", "active", "max", "min", "float", "len", "callLater"})

#: Not periodic: a call armed anew as long as it is too early, or a chain that ends with what it serves.
_OTHERWISE = {
    "FirstGood._waited": "asks the next source; each question ends by itself",
    "LinkProtocol._watch_silence": "a deadline that moves",
    "LinkProtocol._silent": "a deadline that moves",
    "ExportShelf._look": "armed anew by the next export that is kept",
    "DiskCache._tend": "arms in what follows its work, whatever that gives; what fails on the spot is caught",
    "_Sending._go_on": "a body; what fails ends it",
    "HlsPull._give": "a pull; what fails ends it, and its owner begins again",
    "PulledList._looked": "part of a pull, whose owner sees that nothing comes",
    "Reloads._late": "a deadline of those who wait",
    "Journal._load": "a chain of Deferreds with an errback",
    "Feed._flush_due": "the next frame arms it again",
    "KeptState._save": "arms in what follows its work, whatever that gives",
    "RtmpServerProtocol._expired": "a deadline that moves",
    "FileInput._wake": "an input; what fails ends it, and its owner begins again",
    "HttpGet._silent": "a deadline that moves",
    "RunningNode._drained": "a process that ends: what is asked does not fail",
    "TsUdpPull._check": "a deadline that moves",
    "PacedBody._next": "a body; it is watched for stalls",
    "FrontConnection._next_turn": "a connection, which is watched for idleness",
    "FrontConnection._expired": "a deadline that moves",
}


def armed(node: ast.AST) -> Iterator[str]:
    """Names of methods of C{self} that are given to C{callLater} in C{node}."""
    for call in ast.walk(node):
        if not isinstance(call, ast.Call) or len(call.args) < 2:
            continue
        called = call.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        target = call.args[1]
        if name == "callLater" and isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
            yield target.attr


def called(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """What is called in C{node}: the name, and whether it is a method of C{self}."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            what = call.func
            if isinstance(what, ast.Attribute):
                yield what.attr, isinstance(what.value, ast.Name) and what.value.id == "self"
            else:
                yield getattr(what, "id", ""), False


class Job:
    """A method that arms itself, and by which others of its class."""

    def __init__(self, owner: str, method: ast.FunctionDef, by: frozenset[str]) -> None:
        self.name = f"{owner}.{method.name}"
        self._method = method
        self._by = by

    def _arms(self, node: ast.AST) -> bool:
        return self._method.name in armed(node) or any(own and name in self._by for name, own in called(node))

    def outlives(self) -> bool:
        """Whether the next turn comes whatever fails in one."""
        for statement in self._method.body:
            if isinstance(statement, ast.Try):
                if any(self._arms(each) for each in statement.finalbody):
                    return True
                if any(
                    isinstance(each.type, ast.Name) and each.type.id == "Exception"
                    for each in statement.handlers
                ):
                    continue
            if self._arms(statement):
                return True
            if any(name not in _HARMLESS for name, _ in called(statement)):
                return False
        return False


def jobs() -> Iterator[Job]:
    """Those of the program."""
    for path in sorted(Path(restreamer.__file__).parent.rglob("*.py")):
        if "testing" in path.parts:
            continue
        for owner in ast.walk(ast.parse(path.read_text())):
            if not isinstance(owner, ast.ClassDef):
                continue
            methods = {each.name: each for each in owner.body if isinstance(each, ast.FunctionDef)}
            arming = {name: frozenset(armed(each)) for name, each in methods.items()}
            for name, method in methods.items():
                by = frozenset(
                    other
                    for other, own in called(method)
                    if own and other in methods and name in arming[other]
                )
                if name in arming[name] or by:
                    yield Job(owner.name, method, by)


class PeriodicTests(SynchronousTestCase):
    """All jobs there are."""

    def test_each_outlives_an_error(self) -> None:
        found = {job.name: job for job in jobs()}
        self.assertGreater(len(found), 30)
        frail = sorted(name for name, job in found.items() if not job.outlives())
        self.assertEqual(frail, sorted(name for name in _OTHERWISE if name in frail))
        self.assertEqual([name for name in _OTHERWISE if name not in found], [], "no such job any more")


class FaultTests(SynchronousTestCase):
    """What is caught is counted."""

    def test_counted(self) -> None:
        count = FaultCount()
        count.watch()
        self.addCleanup(count.rest)
        log = Logger()
        log.error("this is no fault")
        log.failure("this is one", Failure(ZeroDivisionError()))
        logger.Logger().failure("what Twisted caught", Failure(ZeroDivisionError()))
        self.assertEqual(count.faults, 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        count.rest()
        log.failure("one more", Failure(ZeroDivisionError()))
        self.assertEqual(count.faults, 2)
        self.flushLoggedErrors(ZeroDivisionError)
