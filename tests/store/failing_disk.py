"""A disk that does what it is told: refuses writes or fsyncs, is slow, or is full."""

import time

from crash.vfs import FULL, IOERR_FSYNC, IOERR_WRITE, OK


class FailingDisk:
    """A witness for `watched`: the next `failing_syncs` fsyncs and `failing_writes` writes of the
    log fail, as many `full_writes` find no room, each fsync takes `sync_s` seconds."""

    def __init__(self) -> None:
        self.failing_syncs = 0
        self.failing_writes = 0
        self.full_writes = 0
        self.sync_s = 0.0
        self.syncs = 0

    def opened(self, path: str) -> None:
        pass

    def write(self, path: str, offset: int, data: bytes) -> int:
        if not path.endswith("-wal"):
            return OK
        if self.full_writes > 0:
            self.full_writes -= 1
            return FULL
        if self.failing_writes > 0:
            self.failing_writes -= 1
            return IOERR_WRITE
        return OK

    def truncate(self, path: str, size: int) -> int:
        return OK

    def sync(self, path: str) -> int:
        if not path.endswith("-wal"):
            return OK
        self.syncs += 1
        if self.failing_syncs > 0:
            self.failing_syncs -= 1
            return IOERR_FSYNC
        time.sleep(self.sync_s)
        return OK

    def delete(self, path: str) -> int:
        return OK

    def sync_folder(self, path: str) -> None:
        pass
