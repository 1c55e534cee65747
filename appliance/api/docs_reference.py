"""The API reference as Markdown, made from the OpenAPI description: what a language model reads in one go."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_METHODS = ("get", "post", "patch", "put", "delete")

Node = Mapping[str, Any]


def reference(spec: Node) -> str:
    """Every operation, event and schema of `spec`, in its order."""
    lines = ["# API reference", ""]
    for path, item in spec["paths"].items():
        for method in _METHODS:
            if method in item:
                lines += _operation(spec, f"{method.upper()} {path}", item, item[method])
    lines += ["## Webhook requests", ""]
    for name, item in spec["webhooks"].items():
        lines += _operation(spec, name, item, item["post"], level="###")
    lines += ["## Schemas", ""]
    for name, schema in spec["components"]["schemas"].items():
        lines += _schema(name, schema)
    return "\n".join(lines) + "\n"


def _operation(spec: Node, title: str, item: Node, operation: Node, level: str = "##") -> list[str]:
    lines = [f"{level} {title}", "", f"{operation['summary']}.", ""]
    if "description" in operation:
        lines += [operation["description"].strip(), ""]
    if operation.get("security") == []:
        lines += ["Needs no API key.", ""]
    lines += [_parameter(_resolved(spec, each)) for each in _parameters(item, operation)]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += [f"- body ({kind}): {_kind(content['schema'])}"]
    answers = {status: _resolved(spec, each) for status, each in operation["responses"].items()}
    lines += [_answer(status, each) for status, each in answers.items() if status.startswith("2")]
    refusals = [status for status in answers if status.startswith(("4", "5"))]
    lines += [f"- refusals: {', '.join(refusals)}"] if refusals else []
    return [*lines, "", *_examples(spec, operation)]


def _parameters(item: Node, operation: Node) -> list[Node]:
    return [*item.get("parameters", ()), *operation.get("parameters", ())]


def _parameter(parameter: Node) -> str:
    needed = ", required" if parameter.get("required") else ""
    text = f"- {parameter['in']} `{parameter['name']}` ({_kind(parameter['schema'])}{needed})"
    return f"{text}: {_line(parameter['description'])}" if "description" in parameter else text


def _answer(status: str, response: Node) -> str:
    kinds = [f"{_kind(content['schema'])} ({kind})" for kind, content in response.get("content", {}).items()]
    return f"- {status}: {_line(response['description'])}" + (f" {', '.join(kinds)}" if kinds else "")


def _examples(spec: Node, operation: Node) -> Iterator[str]:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        form = "" if kind == "application/json" else f", as {kind} with these parts"
        for summary, value in _values(content):
            yield from _json(f"Request{summary}{form}:", value)
    for status, answer in operation["responses"].items():
        if not status.startswith("2"):
            continue
        for content in _resolved(spec, answer).get("content", {}).values():
            for _, value in _values(content):
                if not isinstance(value, str):
                    yield from _json(f"Answer {status}:", value)


def _values(content: Node) -> Iterator[tuple[str, Any]]:
    if "example" in content:
        yield "", content["example"]
    for example in content.get("examples", {}).values():
        yield f" ({example['summary']})", example["value"]


def _json(title: str, value: Any) -> list[str]:
    return [title, "", "```json", msgspec.json.encode(value).decode(), "```", ""]


def _schema(name: str, schema: Node) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    if "description" in schema:
        yield schema["description"].strip()
        yield ""
    required = schema.get("required", ())
    for field, each in schema.get("properties", {}).items():
        kind = _kind(each) + (", required" if field in required else "")
        yield f"- `{field}` ({kind})" + (f": {_line(each['description'])}" if "description" in each else "")
    if "properties" not in schema:
        yield f"- {_kind(schema)}"
    yield ""


def _kind(schema: Node) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    for word in ("oneOf", "anyOf"):
        if word in schema:
            return " or ".join(_kind(each) for each in schema[word])
    if "const" in schema:
        return f"always {msgspec.json.encode(schema['const']).decode()}"
    if "enum" in schema:
        return " | ".join(schema["enum"])
    kinds = schema.get("type", "anything")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if "items" in schema:
        text = f"{text} of {_kind(schema['items'])}"
    return text + _bounds(schema)


def _bounds(schema: Node) -> str:
    low = schema.get("minimum", schema.get("minLength"))
    high = schema.get("maximum", schema.get("maxLength", schema.get("maxItems")))
    text = {(True, True): f" {low}–{high}", (True, False): f" from {low}", (False, True): f" up to {high}"}
    default = f", default {msgspec.json.encode(schema['default']).decode()}" if "default" in schema else ""
    return text.get((low is not None, high is not None), "") + default


def _resolved(spec: Node, node: Node) -> Node:
    found: Any = node
    while "$ref" in found:
        found = spec
        for key in str(node["$ref"]).removeprefix("#/").split("/"):
            found = found[key]
        node = found
    return node


def _line(text: str) -> str:
    return " ".join(text.split())
