"""The configuration of a worker: the node's without what only the main process does."""

from __future__ import annotations

from typing import Final

from attrs import evolve

from restreamer.config.auth_model import NO_RULES
from restreamer.config.model import Configuration, JournalConfig, StreamConfig, TemplateConfig

#: A worker keeps no journal: the main process does.
_NO_JOURNAL: Final = JournalConfig(off=True)


def worker_configuration(configuration: Configuration) -> Configuration:
    """What a worker runs by: the listeners, the files, and who may publish where.

    Sources, archives, pushes, rules and sinks are the main process's.
    """
    return evolve(
        configuration,
        cluster_key="",
        state_dir="",
        streams={name: _bare(stream) for name, stream in configuration.streams.items()},
        templates={name: _template(each) for name, each in configuration.templates.items()},
        vods={name: evolve(vod, auth=NO_RULES) for name, vod in configuration.vods.items()},
        sources=(),
        peers=(),
        balancers={},
        dvrs={},
        view_auth=None,
        edit_auth=None,
        session_log=_NO_JOURNAL,
        event_sinks=(),
        auth_backends={},
        geoip="",
    )


def _template(template: TemplateConfig) -> TemplateConfig:
    return evolve(template, stream=_bare(template.stream))


def _bare(stream: StreamConfig) -> StreamConfig:
    published = tuple(each for each in stream.inputs if each.scheme == "publish")
    # The password stays: a digest of RTSP is computed where the publisher speaks.
    return evolve(stream, inputs=published, backup=None, push=(), auth=NO_RULES, dvr=None, cache=None)
