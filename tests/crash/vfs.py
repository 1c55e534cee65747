"""The disk as SQLite sees it, watched: what this process's own sqlite3 writes, cuts, syncs and deletes.

SQLite's unix VFS opens every file as ever; then the table of methods that the file carries is replaced by a
copy in which writing, truncating, syncing and closing ask a `Witness` first. The library is the one that the
`sqlite3` module is linked with, so the code under test runs unchanged. Layouts: sqlite3.h (sqlite3_vfs,
sqlite3_io_methods), which SQLite keeps compatible for ever; the replaced system call is os_unix.c's.
"""

import ctypes
import os
import sqlite3  # noqa: F401 (loads the library that is looked for)
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

OK = 0
FULL = 13
IOERR_WRITE = 10 | 3 << 8
IOERR_FSYNC = 10 | 4 << 8
_SHIM_NAME = b"witnessed"

_Pointer = ctypes.c_void_p
_Close = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer)
_Write = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer, ctypes.c_int, ctypes.c_int64)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int)
_Open = ctypes.CFUNCTYPE(
    ctypes.c_int, _Pointer, _Pointer, _Pointer, ctypes.c_int, ctypes.POINTER(ctypes.c_int)
)
_Delete = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_char_p, ctypes.c_int)
_SetCall = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_char_p, _Pointer)
_GetCall = ctypes.CFUNCTYPE(_Pointer, _Pointer, ctypes.c_char_p)
_OpenFolder = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int))


class _Methods(ctypes.Structure):
    """sqlite3_io_methods, version 3."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("close", _Close),
        ("read", _Pointer),
        ("write", _Write),
        ("truncate", _Truncate),
        ("sync", _Sync),
        *((f"other_{n}", _Pointer) for n in range(13)),
    )


class _File(ctypes.Structure):
    """sqlite3_file: what follows belongs to the unix VFS."""

    _fields_ = (("methods", ctypes.POINTER(_Methods)),)


class _Vfs(ctypes.Structure):
    """sqlite3_vfs, version 3."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", _Pointer),
        ("name", ctypes.c_char_p),
        ("data", _Pointer),
        ("open", _Open),
        ("delete", _Delete),
        *((f"other_{n}", _Pointer) for n in range(11)),
        ("set_call", _SetCall),
        ("get_call", _GetCall),
        ("next_call", _Pointer),
    )


class Witness(Protocol):
    """Is asked before each operation; anything but OK is given to SQLite instead of doing it.

    It is called on whatever thread SQLite runs on. Paths are absolute.
    """

    def opened(self, path: str) -> None:
        """The file is open, made if it was not there."""

    def write(self, path: str, offset: int, data: bytes) -> int: ...

    def truncate(self, path: str, size: int) -> int: ...

    def sync(self, path: str) -> int: ...

    def delete(self, path: str) -> int: ...

    def sync_folder(self, path: str) -> None:
        """The folder of that file is synced: what was made and deleted in it stays so."""


@contextmanager
def watched(witness: Witness) -> Iterator[None]:
    """Every database file opened within the block is watched; all must be closed before its end."""
    shim = _Shim(witness)
    shim.install()
    try:
        yield
    finally:
        shim.remove()


class _Shim:
    """The VFS that is the default one while it is installed."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._paths: dict[int, str] = {}
        self._tables: dict[int, Any] = {}
        self._kept: list[Any] = []
        self._library = _library()
        self._unix = self._library.sqlite3_vfs_find(None)
        own = _Vfs.from_buffer_copy(self._unix.contents)
        own.name = _SHIM_NAME
        own.open = _Open(self._open)
        own.delete = _Delete(self._delete)
        self._own = own

    def install(self) -> None:
        unix = self._unix.contents
        self._folder_call = unix.get_call(self._unix, b"openDirectory")
        original = _OpenFolder(self._folder_call)

        def open_folder(path: bytes, descriptor: Any) -> int:
            self._witness.sync_folder(os.fsdecode(path))
            return int(original(path, descriptor))

        ours = _OpenFolder(open_folder)
        self._kept += [original, ours]
        unix.set_call(self._unix, b"openDirectory", ctypes.cast(ours, _Pointer))
        self._library.sqlite3_vfs_register(ctypes.byref(self._own), 1)

    def remove(self) -> None:
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._own))
        self._unix.contents.set_call(self._unix, b"openDirectory", self._folder_call)
        self._library.sqlite3_vfs_register(self._unix, 1)

    def _open(self, _vfs: int, name: int | None, file: int, flags: int, given: Any) -> int:
        code = int(self._unix.contents.open(ctypes.addressof(self._unix.contents), name, file, flags, given))
        if code == OK and name is not None:
            path = os.fsdecode(ctypes.string_at(name))
            self._paths[file] = path
            self._graft(file)
            self._witness.opened(path)
        return code

    def _delete(self, _vfs: int, name: bytes, sync_folder: int) -> int:
        code = self._witness.delete(os.fsdecode(name))
        if code != OK:
            return code
        return int(self._unix.contents.delete(ctypes.addressof(self._unix.contents), name, sync_folder))

    def _graft(self, file: int) -> None:
        """Give the file our methods; what they do not change is the very function it had."""
        opened = _File.from_address(file)
        before = ctypes.addressof(opened.methods.contents)
        if before not in self._tables:
            self._tables[before] = self._table(opened.methods.contents)
        opened.methods = ctypes.pointer(self._tables[before])

    def _table(self, theirs: _Methods) -> _Methods:
        witness, paths = self._witness, self._paths
        ours = _Methods.from_buffer_copy(theirs)

        def write(file: int, data: int, size: int, offset: int) -> int:
            code = witness.write(paths[file], offset, ctypes.string_at(data, size))
            return code or int(theirs.write(file, data, size, offset))

        def truncate(file: int, size: int) -> int:
            return witness.truncate(paths[file], size) or int(theirs.truncate(file, size))

        def sync(file: int, flags: int) -> int:
            return witness.sync(paths[file]) or int(theirs.sync(file, flags))

        def close(file: int) -> int:
            paths.pop(file, None)
            return int(theirs.close(file))

        ours.write, ours.truncate = _Write(write), _Truncate(truncate)
        ours.sync, ours.close = _Sync(sync), _Close(close)
        return ours


def linked_library() -> Path:
    """The file of the library that the sqlite3 module uses. Raises LookupError when it has none of its own
    (a statically linked Python)."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "libsqlite3" in line:
            return Path(line.split(maxsplit=5)[5])
    raise LookupError("this Python's sqlite3 is not linked with a shared library")


def _library() -> Any:
    library = ctypes.CDLL(str(linked_library()))
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
    library.sqlite3_vfs_register.argtypes = [_Pointer, ctypes.c_int]
    library.sqlite3_vfs_unregister.argtypes = [_Pointer]
    return library
