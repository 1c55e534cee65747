"""Files beside the database: written, forced to disk, named, and the name forced to disk, in that order."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.engine.spool import Spool
from appliance.gateway.setup_token import SetupToken
from appliance.gateway.vault import Vault
from appliance.store import last_stop

Call = tuple[str, str]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What the process asked of the operating system: ("fsync", path) and ("name", path), in order."""
    seen: list[Call] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        seen.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def watched_replace(source: str | Path, target: str | Path) -> None:
        replace(source, target)
        seen.append(("name", str(target)))

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    return seen


@pytest.mark.parametrize(
    ("name", "write"),
    [
        pytest.param("secret.key", lambda path: Vault.from_file(path), id="key"),
        pytest.param("setup-token", lambda path: SetupToken(path).ensure(), id="setup token"),
        pytest.param("spool", lambda path: Spool(path.parent).keep([b"event"]), id="spool"),
        pytest.param(
            "gateway.db.last-stop", lambda path: last_stop.begin(path.with_suffix("")), id="last stop"
        ),
    ],
)
def test_a_file_is_on_disk_before_its_name_is_and_its_name_before_anybody_relies_on_it(
    tmp_path: Path, calls: list[Call], name: str, write: Callable[[Path], object]
) -> None:
    write(tmp_path / name)
    named = next(n for n, (kind, _) in enumerate(calls) if kind == "name")
    file = Path(calls[named][1])
    assert file.parent == tmp_path
    assert file.exists()
    before = {Path(path).name for kind, path in calls[:named] if kind == "fsync"}
    assert any(draft.startswith(file.name) for draft in before), calls
    assert ("fsync", str(tmp_path)) in calls[named + 1 :]
    assert file.stat().st_mode & 0o077 == 0 or name != "secret.key"
