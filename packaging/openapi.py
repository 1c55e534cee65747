"""Writes web/docs/openapi.json, which the gateway serves, from the hand-authored web/docs/openapi.yaml."""

import json
from pathlib import Path

import yaml

DOCS = Path(__file__).resolve().parents[1] / "web" / "docs"


def main() -> None:
    spec = yaml.safe_load((DOCS / "openapi.yaml").read_text("utf-8"))
    text = json.dumps(spec, ensure_ascii=False, separators=(",", ":"))
    (DOCS / "openapi.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
