"""The library's protobuf classes, imported without neonize's own package.

The generated modules import each other as top-level packages, so their folder must be on the path (in a
bundle they are packed that way already). They are untyped here: the classes are made at run time.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any


def _find() -> None:
    spec = importlib.util.find_spec("neonize")
    for home in (spec.submodule_search_locations or ()) if spec else ():
        folder = str(Path(home) / "proto")
        if folder not in sys.path:
            sys.path.append(folder)


_find()
_neonize: Any = importlib.import_module("Neonize_pb2")
_e2e: Any = importlib.import_module("waE2E.WAWebProtobufsE2E_pb2")
_registration: Any = importlib.import_module("waCompanionReg.WAWebProtobufsCompanionReg_pb2")

NEONIZE: Any = _neonize
"""What the library's calls take and give."""
E2E: Any = _e2e
"""WhatsApp's own messages."""
DEVICE_PROPS: Any = _registration.DeviceProps
