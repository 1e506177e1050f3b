"""The OpenAPI 3.1 document of the API, made of its endpoints (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from restreamer import __version__
from restreamer.media.names import NAME_PATTERN
from restreamer.web.v3.endpoint import MAX_PATH_VALUE, Access, Call, Endpoint, Errors

_REF: Final = "#/components/schemas/{name}"
_SECURITY: Final = {
    Access.OPEN: [{}],
    Access.VIEW: [{}, {"basic": []}, {"bearer": []}],
    Access.PRIVATE: [{"basic": []}, {"bearer": []}],
    Access.EDIT: [{"basic": []}, {"bearer": []}],
}
#: What the front says by itself, in a line of text, before the API sees the request.
_PLAIN: Final = (400, 411, 413, 414, 431, 503)
_VALUE: Final = {"type": "string", "minLength": 1, "maxLength": MAX_PATH_VALUE}
#: What the values of paths look like, by their words there.
_VALUES: Final = {
    "name": {"pattern": f"^{NAME_PATTERN}$"},
    "id": {"pattern": "^[0-9a-f]{32}$"},
    "key": {"pattern": r"^[!-\[\]-~]+$"},
}


def openapi_endpoint(endpoints: Sequence[Endpoint]) -> Endpoint:
    """The endpoint that gives the document of C{endpoints} and itself."""
    made: list[dict[str, Any]] = []

    def handle(call: Call) -> dict[str, Any]:
        if not made:
            made.append(document([*endpoints, itself], __version__))
        return made[0]

    itself = Endpoint(
        method="GET",
        path="/openapi.json",
        summary="This document.",
        tag="server",
        handler=handle,
        access=Access.OPEN,
        result=dict[str, Any],
    )
    return itself


def document(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """The document. @param version: of the program."""
    types = [Errors]
    for each in endpoints:
        types += [found for found in (each.body, each.result) if found is not None]
        types += each.error_results.values()
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    named = dict(zip(map(id, types), schemas, strict=True))
    for each in endpoints:
        if any(parameter.name == "select" for parameter in each.parameters):
            _select(components, _component(named[id(each.result)]))
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(each.full_path, {})[each.method.lower()] = _operation(each, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Restreamer",
            "version": version,
            "description": "Streams, viewers, archives, cluster and configuration of a node.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in endpoints)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _select(components: Mapping[str, Any], listed: str) -> None:
    """Say of the entries of a list that they need not have all of their fields: C{select} leaves some out."""
    for schema in components[listed]["properties"].values():
        if "$ref" in schema.get("items", {}):
            _relax(components, _component(schema["items"]))


def _relax(components: Mapping[str, Any], name: str) -> None:
    components[name]["required"] = []
    for schema in components[name].get("properties", {}).values():
        if "$ref" in schema:
            _relax(components, _component(schema))


def _component(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def statuses(endpoint: Endpoint) -> dict[int, str]:
    """All statuses an endpoint answers with but its own good one: to when it does."""
    found = {
        400: "The request cannot be used.",
        413: "The body is too long.",
        414: "The address is too long.",
        431: "The head is too long.",
        503: "The node is too busy.",
    }
    if endpoint.access is not Access.OPEN:
        found[401] = "A password is missing or wrong."
        found[403] = "This node does not allow it: no password is configured for it."
        found[429] = "Too many wrong passwords came from this address."
    if endpoint.values:
        found[404] = "There is no such thing."
    if endpoint.method != "GET":
        found[411] = "The body has no Content-Length."
    if endpoint.body is not None or endpoint.method == "POST":
        found[415] = "The body is not application/json."
    found.update(endpoint.errors)
    return dict(sorted(found.items()))


def _operation(endpoint: Endpoint, named: Mapping[int, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "operationId": _operation_id(endpoint),
        "security": _SECURITY[endpoint.access],
        "responses": {str(endpoint.status): _good(endpoint, named)},
    }
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {**_VALUE, **_VALUES.get(name, {})},
        }
        for name in endpoint.values
    ]
    parameters += [
        {
            "name": each.name,
            "in": "query",
            "description": each.text,
            "required": each.required,
            "schema": dict(each.schema),
        }
        for each in endpoint.parameters
    ]
    if parameters:
        told["parameters"] = parameters
    if endpoint.body is not None:
        told["requestBody"] = {
            "required": endpoint.body_required,
            "content": {"application/json": {"schema": named[id(endpoint.body)]}},
        }
    for status, text in statuses(endpoint).items():
        result = named[id(endpoint.error_results.get(status, Errors))]
        content: dict[str, Any] = {"application/json": {"schema": result}}
        if status in _PLAIN:
            content["text/plain"] = {"schema": {"type": "string"}}
        told["responses"][str(status)] = {"description": text, "content": content}
    return told


def _good(endpoint: Endpoint, named: Mapping[int, Any]) -> dict[str, Any]:
    if endpoint.result is not None:
        schema = named[id(endpoint.result)]
        return {"description": "What was asked for.", "content": {"application/json": {"schema": schema}}}
    if endpoint.status == 204:
        return {"description": "Done."}
    return {
        "description": "What was asked for.",
        "content": {endpoint.content_type: {"schema": {"type": "string"}}},
    }


def _operation_id(endpoint: Endpoint) -> str:
    words = [part.strip("{}") for part in endpoint.path.strip("/").replace(".", "_").split("/")]
    return "_".join([endpoint.method.lower(), *words])
