"""Removal: what belonged to deleted devices and webhooks goes in the background, a little at a time."""

import asyncio
import contextlib
import logging

from appliance.gateway.pace import Pace
from appliance.model.errors import StorageFull
from appliance.store import removal
from appliance.store.database import Database, StoreError

log = logging.getLogger(__name__)

LOOK_EVERY_S = 600.0


class Removal:
    """Goes on after a start with what an earlier life left."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._pace = Pace(db)
        self._hint = asyncio.Event()

    def kick(self, _deleted: object = None) -> None:
        """Something may have been deleted."""
        self._hint.set()

    async def run(self) -> None:
        """For ever; a disk that refuses is tried again later."""
        while True:
            self._hint.clear()
            with contextlib.suppress(StorageFull, StoreError):
                await self.purge()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._hint.wait()

    async def purge(self) -> int:
        """Delete all that is hidden; returns how many rows went."""
        total = 0
        while await self._db.reader.one(removal.left()):
            total += await self._pace.run(removal.purge)
        if total:
            log.info("removed", extra={"rows": total})
        return total
