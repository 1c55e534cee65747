"""The hint that something was queued: it wakes the delivery worker when there is reason to, and only then."""

import asyncio

from appliance.store.database import Database


class DeliveryBell:
    """Sets `wakeup` after commits that queued deliveries.

    Every commit is followed by a `ring`, but most queue nothing, and the worker reads a good deal when it is
    woken. A ring may come for one commit while another, which queued something, is still being written: the
    hint is used up only once that group is on disk, else its own ring would find it gone.
    """

    def __init__(self, db: Database, wakeup: asyncio.Event) -> None:
        self._db = db
        self._wakeup = wakeup
        self._queued_in = -1
        self._rung_for = -1

    def queued(self) -> None:
        """A delivery is written in the group that is being committed. Runs on the writer's thread."""
        self._queued_in = self._db.commits

    def ring(self) -> None:
        """Something was committed."""
        queued_in = self._queued_in
        if queued_in > self._rung_for:
            self._wakeup.set()
            if self._db.commits > queued_in:
                self._rung_for = queued_in
