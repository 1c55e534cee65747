"""The protobuf modules that ship inside the neonize wheel, without the Go library.

`import neonize` loads the Go library, which a server has no use for; only the folder with the generated
modules goes on `sys.path`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any


def wheel_folder() -> Path:
    """Where the neonize wheel is installed; raises ModuleNotFoundError when it is not."""
    spec = importlib.util.find_spec("neonize")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("neonize is not installed")
    return Path(spec.origin).parent


def _load(name: str) -> Any:
    folder = str(wheel_folder() / "proto")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


adv = _load("waAdv.WAAdv_pb2")
cert = _load("waCert.WACert_pb2")
e2e = _load("waE2E.WAWebProtobufsE2E_pb2")
sync = _load("waServerSync.WAWebProtobufsServerSync_pb2")
action = _load("waSyncAction.WAWebProtobufSyncAction_pb2")
wa6 = _load("waWa6.WAWebProtobufsWa6_pb2")
companion = _load("waCompanionReg.WAWebProtobufsCompanionReg_pb2")
neonize = _load("Neonize_pb2")
