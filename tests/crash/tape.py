"""What a disk was told, on a tape, and what may be left of it when the power fails at some point.

The model is the strict one: a write, cut or new name counts on only after the sync that covers it; until
then any part of it may or may not be there, a write torn at sectors, in any order.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from crash import vfs

SECTOR = 512
LEFT = (0.0, 0.1, 0.5, 0.5, 0.5, 0.9, 1.0)
"""How much of what was not synced is left, as a probability: the extremes too."""

Kind = Literal["open", "write", "cut", "sync", "delete", "folder"]


class Step(msgspec.Struct, frozen=True):
    """One operation on the file of that name; `at` is a write's offset or a cut's size."""

    kind: Kind
    name: str
    at: int = 0
    data: bytes = b""


class Tape:
    """A Witness that writes everything down and lets it pass. `position` is the length so far."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @property
    def position(self) -> int:
        return len(self.steps)

    def opened(self, path: str) -> None:
        self._add("open", path)

    def write(self, path: str, offset: int, data: bytes) -> int:
        return self._add("write", path, offset, data)

    def truncate(self, path: str, size: int) -> int:
        return self._add("cut", path, size)

    def sync(self, path: str) -> int:
        return self._add("sync", path)

    def delete(self, path: str) -> int:
        return self._add("delete", path)

    def sync_folder(self, path: str) -> None:
        self._add("folder", path)

    def _add(self, kind: Kind, path: str, at: int = 0, data: bytes = b"") -> int:
        self.steps.append(Step(kind, Path(path).name, at, data))
        return vfs.OK


class _Inode:
    """A file's content that is safe, and the writes and cuts that are not yet."""

    def __init__(self) -> None:
        self.safe = bytearray()
        self.pending: list[Step] = []

    def sync(self) -> None:
        for step in self.pending:
            _apply(self.safe, step.at, step.data, cut=step.kind == "cut")
        self.pending = []

    def left(self, chance: random.Random, share: float) -> bytearray:
        content = bytearray(self.safe)
        for step in self.pending:
            if step.kind == "cut":
                if chance.random() < share:
                    _apply(content, step.at, b"", cut=True)
                continue
            for start in range(0, len(step.data), SECTOR):
                if chance.random() < share:
                    _apply(content, step.at + start, step.data[start : start + SECTOR], cut=False)
        return content


class Disk:
    """One folder on a disk to which a tape is played. With `heeds_syncs` False it says that it has synced
    and has not, as some drives do."""

    def __init__(self, steps: list[Step], *, heeds_syncs: bool = True) -> None:
        self._steps = steps
        self._heeds_syncs = heeds_syncs
        self._position = 0
        self._names: dict[str, _Inode] = {}
        self._safe_names: dict[str, _Inode] = {}
        self._renamed: list[tuple[str, _Inode | None]] = []

    def play(self, position: int) -> None:
        """Go on to that position; it never goes back."""
        for step in self._steps[self._position : position]:
            self._play(step)
        self._position = max(self._position, position)

    def settle(self) -> None:
        """Everything so far is safe: time enough has passed."""
        for inode in self._names.values():
            inode.sync()
        self._sync_folder()

    def after_power_cut(self, chance: random.Random) -> Iterator[tuple[str, bytes]]:
        """The files that are there when the power is back, one of many possible outcomes."""
        share = chance.choice(LEFT)
        names = dict(self._safe_names)
        for name, inode in self._renamed:
            if chance.random() < share:
                _name(names, name, inode)
        for name, inode in names.items():
            yield name, bytes(inode.left(chance, share))

    def _play(self, step: Step) -> None:
        match step.kind:
            case "open":
                if step.name not in self._names:
                    self._rename(step.name, _Inode())
            case "write" | "cut":
                self._names[step.name].pending.append(step)
            case "sync" if self._heeds_syncs:
                self._names[step.name].sync()
            case "delete":
                if step.name in self._names:
                    self._rename(step.name, None)
            case "folder" if self._heeds_syncs:
                self._sync_folder()

    def _rename(self, name: str, inode: _Inode | None) -> None:
        _name(self._names, name, inode)
        self._renamed.append((name, inode))

    def _sync_folder(self) -> None:
        self._safe_names = dict(self._names)
        self._renamed = []


def _name(names: dict[str, _Inode], name: str, inode: _Inode | None) -> None:
    if inode is None:
        names.pop(name, None)
    else:
        names[name] = inode


def _apply(content: bytearray, at: int, data: bytes, *, cut: bool) -> None:
    if cut:
        del content[at:]
        return
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data
