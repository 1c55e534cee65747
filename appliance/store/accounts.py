"""The accounts table: who may use this gateway."""

from appliance.model.account import Account
from appliance.store import removal
from appliance.store.database import Transaction
from appliance.store.query import Query, count, insertion, parameters, select

_INSERT = insertion(Account, "accounts")


def insert(tx: Transaction, account: Account) -> None:
    tx.run(_INSERT, *parameters(account))


def by_id(account_id: str) -> Query[Account]:
    return select(Account, "accounts", "id = ?", account_id)


def by_email(email: str) -> Query[Account]:
    """The account with that address; ASCII letters match in either case."""
    return select(Account, "accounts", "email = ?", email)


def by_key_hash(key_hash: bytes) -> Query[Account]:
    """The account whose API key has that SHA-256."""
    return select(Account, "accounts", "key_hash = ?", key_hash)


def all_of_them() -> Query[Account]:
    """Every account, the oldest first: for administrators."""
    return select(Account, "accounts", "1 ORDER BY created_at, id")


def admins() -> Query[int]:
    """How many administrators can log in."""
    return count("SELECT count(*) FROM accounts WHERE role = 'admin' AND disabled_at IS NULL")


def how_many() -> Query[int]:
    return count("SELECT count(*) FROM accounts")


def save_key(tx: Transaction, account_id: str, key_hash: bytes, key_sealed: bytes, now_ms: int) -> None:
    """Replace the API key; the old one is not kept."""
    tx.run(
        "UPDATE accounts SET key_hash = ?, key_sealed = ?, key_rotated_at = ? WHERE id = ?",
        key_hash,
        key_sealed,
        now_ms,
        account_id,
    )


def save_password(tx: Transaction, account_id: str, password_hash: str) -> None:
    tx.run("UPDATE accounts SET password_hash = ? WHERE id = ?", password_hash, account_id)


def save_disabled(tx: Transaction, account_id: str, disabled_at: int | None) -> None:
    tx.run("UPDATE accounts SET disabled_at = ? WHERE id = ?", disabled_at, account_id)


def delete(tx: Transaction, account_id: str) -> None:
    """Delete the account with everything that is its own; what its devices have must be gone before."""
    removal.hide_endpoints(tx, account_id)
    tx.run("DELETE FROM event_floors WHERE account_id = ?", account_id)
    tx.run("DELETE FROM accounts WHERE id = ?", account_id)
