"""An independent client: Baileys from npm, which shares no code with the Go library, as a process."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from patience import PATIENCE_S

from loopback.nodes import PN

_SOURCE = Path(__file__).resolve().parent / "baileys"
_FILES = ("package.json", "package-lock.json", ".npmrc", "client.mjs")
_INSTALL_LIMIT_S = 300
_END_S = 5
NODE_REASON = "node and npm are not installed"


def has_node() -> bool:
    return shutil.which("node") is not None and shutil.which("npm") is not None


def installed() -> Path:
    """The folder with the client and its packages, by `npm ci --ignore-scripts` into a cache when missing.

    Its name holds a hash of what it is made from. Raises CalledProcessError when npm fails.
    """
    contents = b"".join((_SOURCE / name).read_bytes() for name in _FILES)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wa-gateway-tests"
    folder = cache / f"baileys-{hashlib.sha256(contents).hexdigest()[:16]}"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="baileys-", dir=cache))
    try:
        for name in _FILES:
            shutil.copy(_SOURCE / name, fresh)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=fresh, check=True, capture_output=True, timeout=_INSTALL_LIMIT_S)
        fresh.replace(folder)
    except OSError:
        if not folder.exists():  # else another run has installed it meanwhile
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


class BaileysClient:
    """Links itself to a number (its phone scans the code by itself) and tells what it hears."""

    def __init__(self, number: str, folder: Path, env: Mapping[str, str]) -> None:
        self._heard: queue.Queue[dict[str, Any]] = queue.Queue()
        home = installed()
        node_env = {**os.environ, **env, "NODE_EXTRA_CA_CERTS": env["SSL_CERT_FILE"]}
        self._process = subprocess.Popen(
            ["node", "client.mjs", number, str(folder)],
            cwd=home,
            env=node_env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="baileys", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        self.wait("open")
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(_END_S)
        self._reader.join(_END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self._heard.put(json.loads(line))

    def wait(self, kind: str, *, timeout_s: float = PATIENCE_S, **want: Any) -> dict[str, Any]:
        """The next thing of this kind with these values; what comes before is passed over. TimeoutError."""
        passed: list[str] = []
        while True:
            try:
                heard = self._heard.get(timeout=timeout_s)
            except queue.Empty:
                raise TimeoutError(f"Baileys told no {kind}; it told {passed}") from None
            if heard["kind"] == kind and all(heard.get(k) == v for k, v in want.items()):
                return heard
            passed.append(heard["kind"])

    def send_text(self, to: str, text: str) -> str:
        """To a number or a JID; returns the message id."""
        assert self._process.stdin is not None
        jid = to if "@" in to else f"{to}@{PN}"
        self._process.stdin.write(json.dumps({"to": jid, "text": text}) + "\n")
        self._process.stdin.flush()
        return str(self.wait("sent")["id"])
