"""The C{restreamer} command: checks configuration files and archives. (C{twistd restreamer} runs nodes.)"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TextIO

from restreamer import __version__
from restreamer.config.excerpt import describe
from restreamer.config.include import MAX_BYTES, decode
from restreamer.config.load import FAR, NEAR, Loaded, find_config, load
from restreamer.config.words import LISTENERS
from restreamer.errors import ConfigError

MAX_WARNINGS = 50

__all__ = ["find_config", "main"]


def main(argv: Sequence[str] | None = None, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Run the command.

    @param argv: arguments without the program's name; the process's when None.
    @param out, err: where to print; the process's when None.
    @return: the exit status: 0 right, 1 the configuration or the archive is wrong, 2 the archive could not be
        checked. (Wrong usage exits with 2.)
    """
    out = out or sys.stdout
    err = err or sys.stderr
    arguments = _parser().parse_args(argv)
    if arguments.command == "version":
        print(f"restreamer {__version__}", file=out)
        return 0
    if arguments.command == "dvr":
        # It needs the archive's code, which a configuration is read without.
        from restreamer.dvr.check import run

        return run(arguments.path, arguments.repair, out, err)
    return _check(arguments.file, out, err)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="restreamer",
        description="Check a configuration or archive. A node is run by: twistd -n restreamer --config FILE",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="read a configuration file and say what is wrong with it")
    check.add_argument("file", nargs="?", metavar="FILE", help=f"default: {NEAR}, else {FAR}")
    dvr = commands.add_parser("dvr", help="look after archives").add_subparsers(
        dest="dvr_command", required=True, metavar="COMMAND"
    )
    archive = dvr.add_parser("check", help="read an archive and say what is wrong with it")
    archive.add_argument("path", metavar="PATH", help="the folder that dvr names in the configuration")
    archive.add_argument(
        "--repair", action="store_true", help="make indexes anew from the data, and cut torn tails"
    )
    commands.add_parser("version", help="print the version")
    return parser


def _check(file: str | None, out: TextIO, err: TextIO) -> int:
    try:
        path = find_config(file)
        loaded = load(path)
    except ConfigError as error:
        print(describe(error, _text_of(error.path)), file=err)
        return 1
    for warning in loaded.warnings[:MAX_WARNINGS]:
        where = f"{warning.path}:{warning.line}:{warning.column}"
        print(f"{where}: warning: {warning.word}: {warning.text}", file=err)
    if len(loaded.warnings) > MAX_WARNINGS:
        print(f"and {len(loaded.warnings) - MAX_WARNINGS} more warnings", file=err)
    print(f"{path}: {summary(loaded)}", file=out)
    return 0


def summary(loaded: Loaded) -> str:
    """What was loaded, in one line."""
    configuration = loaded.configuration
    counts = [
        (len(configuration.streams), "stream"),
        (len(configuration.templates), "template"),
        (len(configuration.vods), "vod"),
        (len(configuration.sources), "source"),
        (sum(len(getattr(configuration, word)) for word in LISTENERS), "listener"),
        (len(loaded.warnings), "warning"),
    ]
    return "ok, " + ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts)


def _text_of(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return decode(file.read(MAX_BYTES), path)
    except (OSError, ValueError, ConfigError):
        return None
