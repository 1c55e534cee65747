"""The description says what the code does: routes, fields, bounds and codes agree in both directions."""

import json
import re
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from description import DOCS, SPEC, Operation, check, examples, operation, operations, resolved
from litestar.handlers import HTTPRouteHandler
from openapi_spec_validator import OpenAPIV31SpecValidator

from appliance import __version__
from appliance.api import (
    devices,
    docs,
    event_stream,
    events,
    media,
    messages,
    paging,
    problems,
    routes,
    sandbox,
    webhooks,
)
from appliance.api.decoding import fitted
from appliance.model import errors

Handler = Any

BODIES: dict[str, type[msgspec.Struct]] = {
    "createDevice": devices.CreateDevice,
    "updateDevice": devices.UpdateDevice,
    "pairCode": devices.PairPhone,
    "mintTicket": events.TicketRequest,
    "sendText": messages.SendText,
    "sendMedia": media.SendMedia,
    "createWebhook": webhooks.CreateWebhook,
    "updateWebhook": webhooks.UpdateWebhook,
    "rotateSecret": webhooks.RotateSecret,
    "replayRange": webhooks.ReplayRange,
    "sandboxScan": sandbox.Scan,
    "sandboxState": sandbox.SetState,
    "sandboxReceipt": sandbox.Receipt,
    "sandboxReceive": sandbox.Receive,
}
QUERIES: dict[str, type[msgspec.Struct]] = {
    "listDevices": paging.Page,
    "getQr": devices.QrQuery,
    "deviceEvents": events.EventsQuery,
    "accountEvents": events.EventsQuery,
    "listMessages": messages.MessagesPage,
    "listWebhooks": paging.Page,
    "listDeliveries": webhooks.DeliveryPage,
}
UNTYPED: dict[str, list[type[msgspec.Struct]]] = {
    "getQr": [devices.QrAnswer],
    "getMedia": [],
    "linkedMedia": [],
    "deviceEvents": [],
    "accountEvents": [],
}
"""The JSON answers of handlers that answer with bytes too."""

SPOKEN: dict[str, type[msgspec.Struct]] = {
    "QrEvent": event_stream.QrTold,
    "NextStep": errors.NextStep,
    "FieldError": errors.FieldError,
}
"""Schemas that no answer refers to by itself."""

FILES = {"image/png", "*/*"}
"""What is answered as bytes that no text shows."""

ALL = operations()


def route_handlers() -> Iterator[HTTPRouteHandler]:
    yield from (*routes.API, *routes.FIXED, *docs.PROGRAMS)


def signature(method: str, path: str) -> str:
    return f"{method} {re.sub(r'{[^}]*}', '{}', path)}"


def handlers_by_signature() -> dict[str, HTTPRouteHandler]:
    return {
        signature(method, path): handler
        for handler in route_handlers()
        for method in handler.http_methods
        for path in handler.paths
        if method not in {"HEAD", "OPTIONS"}
    }


def structs_in(annotation: Any) -> list[type[msgspec.Struct]]:
    """The structs that a handler's return annotation names, without Response and Listing around them."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None:
        is_struct = isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)
        return [annotation] if is_struct else []
    return [struct for argument in arguments for struct in structs_in(argument)]


def fields_of(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def item_of(schema: dict[str, Any]) -> dict[str, Any]:
    """What a list lists, else the schema itself."""
    schema = resolved(schema)
    if set(schema.get("properties", ())) == {"items", "nextCursor"}:
        return resolved(schema["properties"]["items"]["items"])
    return schema


def bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Everything about a value that a caller can run into."""
    names = ("minimum", "maximum", "minLength", "maxLength", "maxItems", "enum")
    found = {name: resolved(schema)[name] for name in names if name in resolved(schema)}
    if "enum" in found:
        found["enum"] = sorted(found["enum"])
    return found


def test_it_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(SPEC).validate()


def test_what_is_served_is_what_was_written() -> None:
    served = json.loads((DOCS / "openapi.json").read_text("utf-8"))
    assert served == SPEC, "run packaging/openapi.py"


def test_it_describes_this_version() -> None:
    assert SPEC["info"]["version"] == __version__


def test_operation_ids_are_unique() -> None:
    ids = [each.id for each in ALL]
    assert sorted(ids) == sorted(set(ids))


def test_every_route_is_described_and_every_description_has_a_route() -> None:
    described = {signature(each.method, each.path) for each in ALL}
    assert described == set(handlers_by_signature())


def test_the_description_has_the_order_of_the_table_of_contents() -> None:
    """Path by path: what is told first in the one is told first in the other."""
    described = list(dict.fromkeys(signature("", each.path) for each in ALL))
    listed = dict.fromkeys(signature("", path) for handler in routes.API for path in handler.paths)
    assert [path for path in described if path in listed] == list(listed)


def test_the_codes_are_those_of_the_refusals() -> None:
    assert sorted(SPEC["components"]["schemas"]["ErrorCode"]["enum"]) == sorted(problems.codes())


def test_every_body_has_its_struct() -> None:
    assert {each.id for each in ALL if each.body is not None} == set(BODIES)


def test_every_query_has_its_struct() -> None:
    described = {each.id for each in ALL if any(p["in"] == "query" for p in each.parameters)}
    assert described - {"linkedMedia"} == set(QUERIES)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_has_the_fields_of_its_struct(name: str) -> None:
    schema = resolved(operation(name).body or {})
    fields = fields_of(BODIES[name])
    assert set(schema["properties"]) == set(fields)
    assert set(schema.get("required", ())) == {n for n, field in fields.items() if field.required}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", BODIES)
def test_a_body_has_the_bounds_of_its_struct(name: str) -> None:
    described = resolved(operation(name).body or {})["properties"]
    _, components = msgspec.json.schema_components([BODIES[name]], ref_template="#/{name}")
    for field, schema in components[BODIES[name].__name__]["properties"].items():
        options = schema.get("anyOf", [schema])
        ours = next(option for option in options if option.get("type") != "null")
        ours = components.get(ours.get("$ref", "").removeprefix("#/"), ours)
        assert bounds(described[field]) == bounds(ours), field


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_has_the_fields_of_its_struct(name: str) -> None:
    described = {p["name"] for p in operation(name).parameters if p["in"] == "query"}
    # The ticket stands among the ways to authenticate.
    assert described == set(fields_of(QUERIES[name])) - {"ticket"}


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.id)
def test_an_answer_has_the_fields_of_its_struct(each: Operation) -> None:
    handler = handlers_by_signature()[signature(each.method, each.path)]
    structs = UNTYPED.get(each.id)
    if structs is None:
        structs = structs_in(typing.get_type_hints(handler.fn)["return"])
    described = [item_of(schema) for _, schema in each.answers()]
    for struct in structs:
        fields = fields_of(struct)
        schema = next(s for s in described if set(s.get("properties", ())) == set(fields))
        always = {n for n, field in fields.items() if field.default is not msgspec.UNSET}
        assert set(schema["required"]) == always


@pytest.mark.parametrize("name", SPOKEN)
def test_a_spoken_schema_has_the_fields_of_its_struct(name: str) -> None:
    assert set(SPEC["components"]["schemas"][name]["properties"]) == set(fields_of(SPOKEN[name]))


@pytest.mark.parametrize("name", BODIES)
def test_every_example_of_a_body_decodes(name: str) -> None:
    given = operation(name).requests()
    assert given, "give an example"
    for _, value in given:
        fitted(value, BODIES[name])


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.id)
def test_every_operation_is_explained(each: Operation) -> None:
    assert each.node["summary"]
    assert each.node["tags"][0] in {tag["name"] for tag in SPEC["tags"]}
    for _, schema in each.answers():
        content = next(r for s, r in each.node["responses"].items() if s.startswith("2"))
        has_example = examples(resolved(content)["content"]["application/json"])
        assert has_example or resolved(schema) == {"type": "object"}, "show an answer"


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.id)
def test_every_body_and_every_answer_is_shown(each: Operation) -> None:
    nodes = [each.node.get("requestBody", {}), *map(resolved, each.node["responses"].values())]
    contents = [kind_and_media for node in nodes for kind_and_media in node.get("content", {}).items()]
    unshown = [kind for kind, media in contents if kind not in FILES and not examples(media)]
    assert not unshown
    required = [p for p in each.parameters if p.get("required")]
    assert all("example" in p for p in required)


def test_an_example_of_a_refusal_is_one_that_the_code_gives() -> None:
    refusals = [value for _, value in shown(SPEC) if isinstance(value, dict) and "requestId" in value]
    assert len({value["code"] for value in refusals}) > 10
    for value in refusals:
        kind = problems.codes()[value["code"]]
        told = (problems.STATUS[kind], kind.title, kind.retryable)
        assert (value["status"], value["title"], value["retryable"]) == told
        assert value["type"].endswith(f"/docs/errors/{kind.code}")


def test_every_example_fits_its_schema() -> None:
    found = list(shown(SPEC))
    assert len(found) > 40
    for media_type, value in found:
        check(value, media_type["schema"])


def shown(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every media type with each of its examples, wherever it stands."""
    if isinstance(node, list):
        for each in node:
            yield from shown(each)
    elif isinstance(node, dict):
        if "schema" in node and ("example" in node or "examples" in node) and "in" not in node:
            yield from ((node, value) for _, value in examples(node))
        for each in node.values():
            yield from shown(each)
