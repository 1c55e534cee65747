"""The API description for tests: its operations, its examples, and whether a value fits a schema."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonschema import Draft202012Validator

DOCS = Path(__file__).parents[1] / "web" / "docs"
SPEC: dict[str, Any] = yaml.safe_load((DOCS / "openapi.yaml").read_text("utf-8"))
METHODS = ("get", "post", "patch", "put", "delete")


class Operation(NamedTuple):
    """One method of one path; `node` is what the description says about it."""

    method: str
    path: str
    node: dict[str, Any]
    item: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.node["operationId"])

    @property
    def parameters(self) -> list[dict[str, Any]]:
        return [
            resolved(each) for each in (*self.item.get("parameters", ()), *self.node.get("parameters", ()))
        ]

    @property
    def body(self) -> dict[str, Any] | None:
        """The schema of the JSON body."""
        found: dict[str, Any] | None = self._json(self.node.get("requestBody", {})).get("schema")
        return found

    def requests(self) -> list[tuple[str, Any]]:
        """The examples of the JSON body by name."""
        return examples(self._json(self.node.get("requestBody", {})))

    def answer(self, status: int) -> dict[str, Any]:
        """The answer's description for a status. Raises KeyError when there is none."""
        responses = self.node["responses"]
        return resolved(responses[str(status)] if str(status) in responses else responses["default"])

    def answers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The schema of each JSON answer that is no refusal, with its status."""
        for status, response in self.node["responses"].items():
            schema = self._json(resolved(response)).get("schema")
            if status.startswith("2") and schema is not None:
                yield status, schema

    def _json(self, node: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = node.get("content", {}).get("application/json", {})
        return found


def operations() -> list[Operation]:
    return [
        Operation(method.upper(), path, item[method], item)
        for path, item in SPEC["paths"].items()
        for method in METHODS
        if method in item
    ]


def operation(operation_id: str) -> Operation:
    return next(each for each in operations() if each.id == operation_id)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """The node, or what it refers to."""
    while "$ref" in node:
        found: Any = SPEC
        for key in node["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        node = found
    return node


def examples(media: dict[str, Any]) -> list[tuple[str, Any]]:
    named = [(name, each["value"]) for name, each in media.get("examples", {}).items()]
    return [("example", media["example"]), *named] if "example" in media else named


def check(value: Any, schema: dict[str, Any]) -> None:
    """Fails when the value does not fit the schema, or has a member that is not described, saying where."""
    validator = Draft202012Validator({**_closed(schema), "components": CLOSED})
    wrong = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
    assert not wrong, f"{wrong}\n{json.dumps(value)[:500]}"


def _closed(node: Any) -> Any:
    """The schema without room for members that it does not name."""
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    closed = {name: _closed(each) for name, each in node.items()}
    if closed.get("type") == "object" and isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


CLOSED = _closed(SPEC["components"])
