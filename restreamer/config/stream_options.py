"""Streams, templates and live locations: their blocks, short forms and inheritance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from restreamer.config import values
from restreamer.config.blocks import Once, Surroundings, options, served
from restreamer.config.grammar import Argument, Statement
from restreamer.config.kind_options import KIND_OPTIONS, kind_option, misplaced
from restreamer.config.model import InputConfig, StreamConfig, TemplateConfig
from restreamer.config.preference import in_preference
from restreamer.config.shared_options import MAX_PRIORITY, MIN_PRIORITY, SharedOptions, segment_count
from restreamer.config.urls import read_input, scheme_of
from restreamer.config.words import INPUT, LIVE, NOT_SERVED, SHARED_OPTIONS, STREAM, TEMPLATE
from restreamer.errors import ConfigError

MAX_INPUTS = 32
MIN_SEGMENT_DURATION, MAX_SEGMENT_DURATION = 1, 30
MIN_CHUNK_DURATION, MAX_CHUNK_DURATION = 100, 2000


def segment_duration(statement: Statement) -> int:
    """C{segment_duration SECONDS;}."""
    return values.whole_seconds(statement, MIN_SEGMENT_DURATION, MAX_SEGMENT_DURATION)


def chunk_duration(statement: Statement) -> int:
    """C{chunk_duration MILLISECONDS;} or C{chunk_duration false;}."""
    if [each.text for each in statement.arguments] == ["false"]:
        return 0
    try:
        return values.whole(statement, MIN_CHUNK_DURATION, MAX_CHUNK_DURATION)
    except ConfigError:
        expected = f"a whole number from {MIN_CHUNK_DURATION} to {MAX_CHUNK_DURATION}, or false"
        raise values.wrong(
            statement, values.one(statement, "chunk_duration MILLISECONDS;"), expected
        ) from None


_READERS: Mapping[str, Callable[[Statement], object]] = {
    "chunk_duration": chunk_duration,
    "clients_timeout": values.timeout,
    "comment": values.text,
    "disabled": values.flag,
    "password": values.secret,
    "segment_count": segment_count,
    "segment_duration": segment_duration,
    "source_timeout": values.timeout,
    "static": values.flag,
    "title": values.text,
}


@frozen
class _Given:
    """The options that were written in one block: model field to value; secrets may be among them."""

    values: dict[str, Any] = field(repr=False)
    shared: SharedOptions
    template: Argument | None
    prefix: str
    template_statement: Statement | None


class _Inputs:
    """Gathers the inputs of one block."""

    def __init__(self, around: Surroundings, *, in_template: bool) -> None:
        self._around = around
        self._in_template = in_template
        self._once = Once("input of a stream")
        self.written = False
        self.inputs: list[InputConfig] = []

    def add(self, statement: Statement, given: Sequence[Argument]) -> None:
        """Read C{URL [key=value…]} of C{statement}."""
        url, rest = given[0], given[1:]
        self.written = True
        source_timeout: float | None = None
        priority = 0
        more: dict[str, str] = {}
        for argument, key, value in options(statement, rest, INPUT, self._around.warn):
            if key == "priority":
                priority = values.number(statement, argument, value or "", MIN_PRIORITY, MAX_PRIORITY)
                continue
            if key in KIND_OPTIONS:
                more[key] = kind_option(statement, argument, key, value or "")
                expected = misplaced(scheme_of(statement, url)[0], key, more[key])
                if expected:
                    raise values.wrong(statement, argument, expected)
                continue
            source_timeout = values.parse_timeout(value or "")
            if source_timeout is None:
                raise values.wrong(statement, argument, f"{key}={values.TIMEOUT_RULE}")
        made = read_input(
            statement,
            url,
            in_template=self._in_template,
            cluster_key=self._around.cluster_key,
            source_timeout=source_timeout,
            priority=priority,
            options=more,
        )
        self._once.add(url.text, url.place, scheme_of(statement, url)[0] + "://")
        if made is None:
            self._around.warn(
                url.place, scheme_of(statement, url)[0] + "://", f"this kind of input is {NOT_SERVED}"
            )
            return
        if made.scheme == "file" and made.host not in self._around.vods:
            known = ", ".join(sorted(self._around.vods)) or "none so far"
            raise values.wrong(statement, url, f"the name of a vod block after file:// ({known})")
        if len(self.inputs) >= MAX_INPUTS:
            raise values.wrong(statement, url, f"at most {MAX_INPUTS} inputs")
        self.inputs.append(made)


def _read(statement: Statement, block: str, around: Surroundings, url: Sequence[Argument]) -> _Given:
    found: dict[str, Any] = {}
    inputs = _Inputs(around, in_template=block != STREAM)
    shared = SharedOptions(around, placeholder=block != STREAM)
    template: Argument | None = None
    template_statement: Statement | None = None
    prefix = ""
    if url:
        inputs.add(statement, url)
    for each in served(statement.block or (), block, around.warn):
        if each.word in ("input", "url"):
            values.no_block(each)
            inputs.add(each, values.arguments(each, 1, 1000, f"{each.word} URL;"))
        elif each.word in SHARED_OPTIONS or each.word == "on_publish":
            shared.take(each)
        elif each.word == "template":
            template, template_statement = values.one(each, "template NAME;"), each
            values.name(each, template)
        elif each.word == "prefix":
            prefix = values.name(each, values.one(each, "prefix NAME;"))
        else:
            found[each.word] = _READERS[each.word](each)
    if inputs.written:
        found["inputs"] = in_preference(inputs.inputs)
    found.update(shared.finish(around.cluster_key))
    return _Given(found, shared, template, prefix, template_statement)


def read_template(statement: Statement, around: Surroundings) -> TemplateConfig:
    """C{template NAME { … }}, or C{live NAME { … }} = the same with C{prefix NAME; input publish://;}."""
    live = statement.word == "live"
    argument = values.arguments(statement, 1, 1, f"{statement.word} NAME {{ … }}")[0]
    name = values.name(statement, argument)
    given = _read(statement, LIVE if live else TEMPLATE, around, ())
    auth = given.shared.auth(around.auth)
    stream = StreamConfig(name=name, place=statement.place, auth=auth, **given.values)
    if live and not stream.takes_publisher:
        publish = InputConfig(url="publish://", scheme="publish", place=statement.place)
        stream = evolve(stream, inputs=(publish, *stream.inputs))
    return TemplateConfig(
        name=name, prefix=name if live else given.prefix, stream=stream, place=statement.place
    )


def read_stream(
    statement: Statement,
    around: Surroundings,
    templates: Mapping[str, TemplateConfig],
) -> StreamConfig:
    """C{stream NAME { … }}, C{stream NAME URL;}, C{ondemand NAME URL;}.

    What the stream's own block says wins over its template; its own inputs replace the template's.
    """
    arguments = values.arguments(
        statement, 1, 1000, f"{statement.word} NAME {{ … }} or {statement.word} NAME URL;"
    )
    name = values.name(statement, arguments[0])
    given = _read(statement, STREAM, around, arguments[1:])
    base = StreamConfig(name=name, static=statement.word != "ondemand", auth=around.auth)
    if given.template is not None and given.template_statement is not None:
        template = templates.get(given.template.text)
        if template is None:
            known = ", ".join(sorted(templates)) or "there are none"
            raise values.wrong(given.template_statement, given.template, f"the name of a template ({known})")
        base = template.make(name)
        if statement.word == "ondemand":
            base = evolve(base, static=False)
    stream = evolve(base, place=statement.place, auth=given.shared.auth(base.auth), **given.values)
    if not stream.inputs and stream.backup is None and not stream.disabled:
        around.warn(statement.place, statement.word, "it has no input that is served, so nothing can play")
    return stream
