"""Whether an account has taken its first steps."""

from appliance.store.query import Query, count

NEWEST = 5_000
"""An account with more messages than this has long begun."""


def has_sent(account_id: str) -> Query[int]:
    """1 when a message was sent through the gateway, else 0."""
    newest = "SELECT via_api FROM messages WHERE account_id = ? ORDER BY no DESC LIMIT ?"
    sql = f"SELECT count(*) = ? OR coalesce(max(via_api), 0) FROM ({newest})"  # noqa: S608
    return count(sql, NEWEST, account_id, NEWEST)


def endpoints(account_id: str) -> Query[int]:
    """How many webhooks the account has."""
    return count("SELECT count(*) FROM endpoints WHERE account_id = ?", account_id)


def troubled_endpoints(account_id: str) -> Query[int]:
    """How many of them are failing or have stopped."""
    sql = "SELECT count(*) FROM endpoints WHERE account_id = ? AND enabled = 1 AND status <> 'ok'"
    return count(sql, account_id)
