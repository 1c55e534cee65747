"""Accounts: registering, signing in, and the API key that every call carries."""

import hashlib
import re
import secrets
from collections.abc import Callable
from typing import Literal, get_args

import msgspec

from appliance.gateway.browser_sessions import BrowserSessions
from appliance.gateway.login_limits import LoginLimits
from appliance.gateway.passwords import Passwords
from appliance.gateway.setup_token import SetupToken
from appliance.gateway.vault import Vault
from appliance.model.account import Account, Role
from appliance.model.clock import Clock
from appliance.model.errors import Invalid
from appliance.model.ids import new_id
from appliance.model.tally import Tally
from appliance.store import accounts, browser_sessions, choices, invites
from appliance.store.database import Database, Reader, Transaction

KEY_PURPOSE = "api-key"
PASSWORD_SHORTEST, PASSWORD_LONGEST, NAME_LONGEST, EMAIL_LONGEST = 8, 256, 100, 254
_KEY = re.compile(r"[0-9a-f]{64}\Z")
_EMAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+\Z")


Registration = Literal["first", "open", "closed"]
_REGISTRATION = "accounts.registration"


class AccountSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may register in the browser: `first` only the first account, `open` everybody, `closed` nobody.

    An administrator may choose otherwise in the dashboard; that choice is kept until it is taken back.
    """

    registration: Registration = "first"


class AccountRefused(Invalid):
    """What was typed about an account is not right. `reason` is a stable word for translation."""

    def __init__(self, reason: str, detail: str, field: str) -> None:
        super().__init__(detail, field=field)
        self.reason = reason
        self.field = field


class Accounts:
    """The accounts of this gateway. `on_key_rotated` gets the account's id after its key changed, or after
    the account was disabled or deleted: what the key opened is to be closed. `logins` counts them by how they
    ended."""

    def __init__(
        self,
        db: Database,
        reader: Reader,
        vault: Vault,
        clock: Clock,
        settings: AccountSettings,
        setup_token: SetupToken,
    ) -> None:
        self._db = db
        self._reader = reader
        self._vault = vault
        self._clock = clock
        self._settings = settings
        self._chosen: Registration | None = None
        self._setup_token = setup_token
        self._passwords = Passwords()
        self._limits = LoginLimits(clock)
        self._by_key_hash: dict[bytes, Account] = {}
        self._changes = 0
        self._total = 0
        self.sessions = BrowserSessions(db, reader, clock)
        self.on_key_rotated: list[Callable[[str], None]] = []
        self.logins = Tally(("right",), ("wrong",))

    async def open(self) -> None:
        """Count the accounts; write the setup token while there is none, void it otherwise."""
        self._total = await self._reader.one(accounts.how_many()) or 0
        chosen = await self._reader.one(choices.value(_REGISTRATION))
        self._chosen = next((each for each in get_args(Registration) if each == chosen), None)
        self._tend_setup_token()

    def use(self, settings: AccountSettings) -> None:
        """Go by these settings from now on."""
        self._settings = settings
        self._tend_setup_token()

    def close(self) -> None:
        """End the hashing threads."""
        self._passwords.close()

    @property
    def is_empty(self) -> bool:
        """Whether the first account is still to be made; making it in the browser takes the setup token."""
        return self._total == 0

    @property
    def registration(self) -> Registration:
        """Who may register: what an administrator chose, else what the configuration says."""
        return self._chosen or self._settings.registration

    @property
    def configured_registration(self) -> Registration | None:
        """What the configuration says, when an administrator chose otherwise."""
        return self._settings.registration if self._chosen else None

    async def choose_registration(self, chosen: Registration | None) -> None:
        """Decide who may register, until it is decided again; None: as the configuration says."""
        await self._db.transaction(lambda tx: choices.save(tx, _REGISTRATION, chosen))
        self._chosen = chosen

    @property
    def attempts_refused(self) -> int:
        """Attempts at passwords and tokens that were too many."""
        return self._limits.refused

    @property
    def may_register(self) -> bool:
        """Whether the browser may make another account now."""
        policy = self.registration
        return policy == "open" or (policy == "first" and self.is_empty)

    @property
    def is_single(self) -> bool:
        """Whether only the owner can be using this gateway: at most one account, and not open to others."""
        return self._total <= 1 and self.registration != "open"

    async def by_key(self, key: str) -> Account | None:
        """The account with that API key. A key used before costs one hash and no disk."""
        if _KEY.match(key) is None:
            return None
        key_hash = _hash(key)
        if (known := self._by_key_hash.get(key_hash)) is not None:
            return known
        changes = self._changes
        found = await self._reader.one(accounts.by_key_hash(key_hash))
        # A row read before a rotation and kept after it would leave the old key good for ever.
        if found is None or found.disabled_at is not None:
            return None
        if changes == self._changes:
            self._by_key_hash[key_hash] = found
        return found

    async def by_id(self, account_id: str) -> Account | None:
        return await self._reader.one(accounts.by_id(account_id))

    async def create(
        self,
        email: str,
        name: str,
        password: str,
        role: Role,
        check: Callable[[Transaction], None] = lambda tx: None,
    ) -> tuple[Account, str]:
        """A new account, whatever the registration policy says; returns it with its API key. `check` may
        refuse in the transaction that makes it.

        Raises AccountRefused.
        """
        email, name = _checked_identity(email, name)
        _check_new_password(password, "password")
        return await self._insert(email, name, password, role, check)

    async def register(
        self,
        email: str,
        name: str,
        password: str,
        *,
        setup_token: str = "",
        on_this_machine: bool = False,
        address: str = "",
    ) -> tuple[Account, str]:
        """What the browser's form does: the first account becomes admin and takes the setup token, unless
        the browser runs `on_this_machine`.

        Raises AccountRefused, TooManyAttempts.
        """
        self._check_policy(self._total)
        email, name = _checked_identity(email, name)
        _check_new_password(password, "password")
        self._limits.take(address, email)
        is_first = self.is_empty
        if is_first and not on_this_machine and not self._setup_token.matches(setup_token):
            raise AccountRefused("setup_token_wrong", "That is not the setup token.", "setup_token")

        def check(tx: Transaction) -> None:
            total = tx.one(accounts.how_many()) or 0
            self._check_policy(total)
            if is_first and total:
                raise AccountRefused("registration_closed", "Somebody else was first.", "email")

        made = await self._insert(email, name, password, "admin" if is_first else "user", check)
        self._limits.give_back(address, email)
        return made

    async def login(self, email: str, password: str, address: str = "") -> Account:
        """The account with that email and password. Raises AccountRefused, TooManyAttempts."""
        email = email.strip()
        self._limits.take(address, email)
        account = await self._reader.one(accounts.by_email(email))
        fits = await self._passwords.verify(
            account.password_hash if account else None, password[:PASSWORD_LONGEST]
        )
        self.logins.add("right" if fits else "wrong")
        if account is None or not fits:
            raise AccountRefused("login_wrong", "The email or the password is not right.", "email")
        self._limits.give_back(address, email)
        if account.disabled_at is not None:
            raise AccountRefused("disabled", "This account is disabled.", "email")
        return account

    async def check_password(self, account: Account, password: str, address: str = "") -> None:
        """Raises AccountRefused unless it is the account's password, TooManyAttempts."""
        self._limits.take(address, account.email)
        if not await self._passwords.verify(account.password_hash, password[:PASSWORD_LONGEST]):
            raise AccountRefused("password_wrong", "That is not your password.", "password")
        self._limits.give_back(address, account.email)

    async def set_password(
        self, account: Account, password: str, check: Callable[[Transaction], None] = lambda tx: None
    ) -> None:
        """Change the password; links to a new one no longer open. `check` may refuse in the transaction that
        changes it. Raises AccountRefused. Sessions of other browsers are the caller's to end."""
        _check_new_password(password, "new_password")
        hashed = await self._passwords.hash(password)

        def work(tx: Transaction) -> None:
            check(tx)
            accounts.save_password(tx, account.id, hashed)
            invites.delete_for(tx, account.id)

        await self._db.transaction(work)
        self._forget(account.id)

    async def set_disabled(self, account_id: str, *, disabled: bool) -> None:
        """Let neither key nor password of the account open anything, or let them again; disabling signs its
        browsers out and ends its streams. Raises AccountRefused for the last administrator."""
        at = self._clock.now_ms() if disabled else None

        def work(tx: Transaction) -> None:
            accounts.save_disabled(tx, account_id, at)
            _check_admin_left(tx)
            if disabled:
                browser_sessions.delete_all(tx, account_id)

        await self._db.transaction(work)
        self._shut_out(account_id)

    async def delete(self, account_id: str) -> None:
        """Delete the account; its devices must be gone. Raises AccountRefused for the last administrator."""

        def work(tx: Transaction) -> int:
            accounts.delete(tx, account_id)
            _check_admin_left(tx)
            return tx.one(accounts.how_many()) or 0

        self._total = await self._db.transaction(work)
        self._shut_out(account_id)

    async def rotate_key(self, account: Account) -> str:
        """A new API key; the old one is refused from now on, and `on_key_rotated` is told."""
        key, now = _new_key(), self._clock.now_ms()
        key_hash, sealed = _hash(key), self._vault.seal(key.encode(), KEY_PURPOSE)
        await self._db.transaction(lambda tx: accounts.save_key(tx, account.id, key_hash, sealed, now))
        self._shut_out(account.id)
        return key

    def reveal_key(self, account: Account) -> str:
        """The account's API key as text. Raises VaultError when it was sealed with another key file."""
        return self._vault.open(account.key_sealed, KEY_PURPOSE).decode()

    async def _insert(
        self, email: str, name: str, password: str, role: Role, check: Callable[[Transaction], None]
    ) -> tuple[Account, str]:
        key, now = _new_key(), self._clock.now_ms()
        account = Account(
            id=new_id(),
            email=email,
            name=name,
            role=role,
            password_hash=await self._passwords.hash(password),
            key_hash=_hash(key),
            key_sealed=self._vault.seal(key.encode(), KEY_PURPOSE),
            key_rotated_at=now,
            created_at=now,
        )

        def work(tx: Transaction) -> int:
            check(tx)
            if tx.one(accounts.by_email(email)) is not None:
                raise AccountRefused("email_taken", "There is an account with that email already.", "email")
            accounts.insert(tx, account)
            return tx.one(accounts.how_many()) or 0

        self._total = await self._db.transaction(work)
        self._setup_token.void()
        return account, key

    def _check_policy(self, total: int) -> None:
        policy = self.registration
        if policy == "closed" or (policy == "first" and total):
            raise AccountRefused("registration_closed", "Registration is closed here.", "email")

    def _tend_setup_token(self) -> None:
        if self._total or self.registration == "closed":
            self._setup_token.void()
        else:
            self._setup_token.ensure()

    def _shut_out(self, account_id: str) -> None:
        """The key no longer opens what it did: whoever holds something open with it is told."""
        self._forget(account_id)
        for listener in self.on_key_rotated:
            listener(account_id)

    def _forget(self, account_id: str) -> None:
        self._changes += 1
        self._by_key_hash = {h: a for h, a in self._by_key_hash.items() if a.id != account_id}


def _check_admin_left(tx: Transaction) -> None:
    if not tx.one(accounts.admins()):
        raise AccountRefused("last_admin", "Somebody must look after the gateway.", "")


def _checked_identity(email: str, name: str) -> tuple[str, str]:
    email, name = email.strip(), " ".join(name.split())
    if len(email) > EMAIL_LONGEST or _EMAIL.match(email) is None:
        raise AccountRefused("email_invalid", "That is not an email address.", "email")
    if not name or len(name) > NAME_LONGEST:
        raise AccountRefused("name_invalid", f"A name has 1 to {NAME_LONGEST} characters.", "name")
    return email, name


def _check_new_password(password: str, field: str) -> None:
    if len(password) < PASSWORD_SHORTEST:
        detail = f"A password has at least {PASSWORD_SHORTEST} characters."
        raise AccountRefused("password_short", detail, field)
    if len(password) > PASSWORD_LONGEST:
        detail = f"A password has at most {PASSWORD_LONGEST} characters."
        raise AccountRefused("password_long", detail, field)


def _new_key() -> str:
    return secrets.token_hex(32)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
