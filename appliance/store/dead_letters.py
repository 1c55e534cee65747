"""Events that could not be applied, kept for whoever looks into it."""

import msgspec

from appliance.store.database import Transaction
from appliance.store.query import Query, count, insertion, parameters

KEPT = 1000


class DeadLetter(msgspec.Struct, kw_only=True):
    """`event` is the engine's event as MessagePack; `error` the class of what went wrong; `created_at` ms."""

    device_id: str
    kind: str
    error: str
    event: bytes
    created_at: int


_INSERT = insertion(DeadLetter, "dead_letters")


def insert(tx: Transaction, letter: DeadLetter) -> None:
    """Keep the letter; only the newest ones stay."""
    no = tx.insert(_INSERT, *parameters(letter))
    tx.run("DELETE FROM dead_letters WHERE no <= ?", no - KEPT)


def how_many() -> Query[int]:
    return count("SELECT count(*) FROM dead_letters")
