"""The choices table: what an administrator chose in the dashboard instead of what the configuration says."""

from appliance.store.database import Transaction
from appliance.store.query import Query


def value(name: str) -> Query[str]:
    """What was chosen; no row: nothing, and the configuration decides."""
    return Query("SELECT value FROM choices WHERE name = ?", (name,), lambda row: str(row[0]))


def save(tx: Transaction, name: str, chosen: str | None) -> None:
    """Keep the choice; None takes it back."""
    tx.run("DELETE FROM choices WHERE name = ?", name)
    if chosen is not None:
        tx.run("INSERT INTO choices (name, value) VALUES (?, ?)", name, chosen)
