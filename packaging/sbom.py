"""The bundle's list of parts, in the form of CycloneDX 1.6 (ECMA-424), the same bytes for the same parts."""

import hashlib
import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from contents import Part

_ONE_LICENCE = re.compile(r"[\w.+-]+")


def document(name: str, version: str, licence: str, made_at: int, parts: list[Part]) -> bytes:
    """The JSON of program `name`, made at that second (Unix time) from those parts."""
    root = f"pkg:generic/{name}@{version}"
    components = [_component(part) for part in parts]
    content: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(made_at, UTC).isoformat(),
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": name,
                "version": version,
                "licenses": _licences(licence),
                "purl": root,
            },
        },
        "components": components,
        "dependencies": [
            {"ref": root, "dependsOn": sorted(component["bom-ref"] for component in components)},
        ],
    }
    digest = hashlib.sha256(json.dumps(content).encode()).digest()
    content["serialNumber"] = uuid.UUID(bytes=digest[:16], version=4).urn
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def _component(part: Part) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "licenses": _licences(part.licence),
        "purl": part.purl,
    }
    if part.note:
        component["description"] = part.note
    if part.archives:
        # The lock file names every archive of a version, for all machines; one of them was installed.
        component["properties"] = [{"name": "locked:sha256", "value": sum_} for sum_ in part.archives]
    files = [
        {"type": "file", "name": name, "hashes": [{"alg": "SHA-256", "content": sum_}]}
        for name, sum_ in part.files.items()
    ]
    if files or part.inside:
        component["components"] = files + part.inside
    return component


def _licences(expression: str) -> list[dict[str, Any]]:
    if _ONE_LICENCE.fullmatch(expression) and not expression.startswith("LicenseRef-"):
        return [{"license": {"id": expression}}]
    return [{"expression": expression}]
