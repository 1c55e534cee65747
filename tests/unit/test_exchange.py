"""The exchange of one state for another: cut off at every step of it, the next lock carries it to its end."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance import data_dir, exchange

STAMP = "20260101T000000Z"
OLD = {
    "gateway.db": "old",
    "gateway.db-wal": "old log",
    "gateway.db.last-stop": "old stop",
    "secret.key": "old key",
    "devices/d/session.db": "old session",
    "backups/gateway-1.db": "old backup",
    "outgoing/f": "old file",
}
NEW = {
    "gateway.db": "new",
    "secret.key": "new key",
    "devices/e/session.db": "new session",
    "media/e/f": "new",
}
STAYS = {"config.toml": "mine", "tls/key.pem": "mine", "gateway.lock": ""}


class Cut(BaseException):
    """The power goes."""


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def files(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write(tmp_path, OLD | STAYS)
    write(exchange.begin(tmp_path), NEW)
    return tmp_path


def expected() -> dict[str, str]:
    aside = {f"before-restore-{STAMP}/{name}": text for name, text in OLD.items()}
    return dict(sorted((NEW | STAYS | aside).items()))


def locked(folder: Path) -> dict[str, str]:
    """What is there for whoever locks the directory; the lock's own content does not matter."""
    with data_dir.lock(folder):
        return files(folder) | {"gateway.lock": ""}


def test_the_old_state_is_set_aside_whole_and_what_is_not_of_it_stays(data: Path) -> None:
    assert exchange.carry_out(data, STAMP) == data / f"before-restore-{STAMP}"
    assert files(data) == expected()


def test_an_empty_directory_sets_nothing_aside(tmp_path: Path) -> None:
    write(exchange.begin(tmp_path), NEW)
    assert exchange.carry_out(tmp_path, STAMP) is None
    assert files(tmp_path) == dict(sorted(NEW.items()))


def test_a_state_that_was_not_ready_is_forgotten(data: Path) -> None:
    whole = OLD | STAYS | {f"{exchange.DRAFT}/{name}": text for name, text in NEW.items()}
    assert locked(data) == whole, "a lock touches no draft"
    exchange.drop(data)
    assert files(data) | {"gateway.lock": ""} == dict(sorted((OLD | STAYS).items()))


def cut_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the power go instead of that change of a name."""
    steps = 0

    def watched(name: str) -> None:
        work: Callable[..., None] = getattr(os, name)

        def cutting(*arguments: object, **more: object) -> None:
            nonlocal steps
            steps += 1
            if steps == step:
                raise Cut
            work(*arguments, **more)

        monkeypatch.setattr(os, name, cutting)

    for name in ("rename", "rmdir", "fsync"):
        watched(name)


@pytest.mark.parametrize("step", range(1, 40))
def test_cut_off_anywhere_the_next_lock_finds_one_state_whole(
    data: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        cut_at(step, patch)
        try:
            exchange.carry_out(data, STAMP)
        except Cut:
            pass
        else:
            assert step > len(OLD) + len(NEW), "the steps are all there"
    with monkeypatch.context() as patch:
        cut_at(3, patch)
        with contextlib.suppress(Cut):
            exchange.finish(data)
    found = locked(data)
    if step == 1:
        assert {name: text for name, text in found.items() if name in OLD} == OLD
    else:
        assert found == expected()
