"""Long work in short transactions: as many rows at a time as leave the writer free for others."""

import asyncio
import time
from collections.abc import Callable

from appliance.store.database import Database, Transaction

GOAL_S = 0.025
"""How long one transaction may work; its commit comes on top."""
REST = 2.0
"""The pause after it, as a multiple of the time it took."""
FEWEST, MOST = 10, 500


class Pace:
    """Finds the number of rows by what the last ones took: a slow disk gets fewer at a time."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._rows = 50

    async def run(self, work: Callable[[Transaction, int], int]) -> int:
        """Do `work`, which is told how many rows it may take, in a transaction, then rest; returns what it
        returns. Raises what Database.transaction raises."""
        took_s = 0.0

        def timed(tx: Transaction) -> int:
            nonlocal took_s
            began = time.perf_counter()
            done = work(tx, self._rows)
            took_s = time.perf_counter() - began
            return done

        asked = time.perf_counter()
        done = await self._db.transaction(timed, yields=True)
        self._rows = following(self._rows, took_s)
        await asyncio.sleep(REST * (time.perf_counter() - asked))
        return done


def following(rows: int, took_s: float) -> int:
    """How many rows come next, after `rows` took so long: at most twice as many."""
    fitting = rows * min(2.0, GOAL_S / max(took_s, 1e-6))
    return max(FEWEST, min(MOST, int(fitting)))
