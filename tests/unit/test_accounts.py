"""Accounts: the first one, the registration policy, API keys, passwords, browser sessions, limits."""

import asyncio
import hashlib
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.gateway.accounts import AccountRefused, Accounts, AccountSettings
from appliance.gateway.login_limits import PER_ADDRESS, PER_EMAIL, LoginLimits, TooManyAttempts
from appliance.gateway.setup_token import SetupToken
from appliance.gateway.vault import Vault, VaultError
from appliance.store.database import Database, StoreSettings
from appliance.store.migrate import migrate

PASSWORD = "correct horse battery"


class TurnedClock:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now = 1_746_480_000_000

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000


@dataclass
class House:
    """One data directory with its accounts."""

    db: Database
    accounts: Accounts
    clock: TurnedClock
    token: SetupToken

    def again(self, **settings: str) -> Accounts:
        """The accounts as after a restart, perhaps with another policy."""
        policy = AccountSettings(**settings)  # type: ignore[arg-type]
        vault = Vault.from_file(self.token.path.with_name("key"))
        return Accounts(self.db, self.db.reader, vault, self.clock, policy, self.token)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    path = tmp_path / "gateway.db"
    migrate(path, StoreSettings())
    db, clock, token = Database(path, StoreSettings()), TurnedClock(), SetupToken(tmp_path / "setup-token")
    await db.open()
    vault = Vault.from_file(tmp_path / "key")
    accounts = Accounts(db, db.reader, vault, clock, AccountSettings(), token)
    await accounts.open()
    yield House(db, accounts, clock, token)
    accounts.close()
    await db.close()


async def test_first_account_takes_the_setup_token_and_becomes_admin(house: House) -> None:
    assert house.accounts.is_empty
    assert stat.S_IMODE(house.token.path.stat().st_mode) == 0o600
    with pytest.raises(AccountRefused) as refused:
        await house.accounts.register("a@example.org", "Ada", PASSWORD, setup_token="wrong")
    assert refused.value.reason == "setup_token_wrong"
    token = house.token.path.read_text().strip()
    typed = f" {token.upper().replace('-', '')} "
    account, key = await house.accounts.register("a@example.org", "Ada", PASSWORD, setup_token=typed)
    assert account.role == "admin"
    assert not house.token.path.exists()
    assert not house.token.matches(token)
    assert not house.token.matches("")
    assert (await house.accounts.by_key(key)) == account


async def test_on_this_machine_no_token_is_asked_and_the_second_is_refused(house: House) -> None:
    before = house.accounts.may_register
    await house.accounts.register("a@example.org", "Ada", PASSWORD, on_this_machine=True)
    assert (before, house.accounts.may_register) == (True, False)
    with pytest.raises(AccountRefused) as refused:
        await house.accounts.register("b@example.org", "Bob", PASSWORD, on_this_machine=True)
    assert refused.value.reason == "registration_closed"


async def test_of_two_first_accounts_at_once_only_one_is_made(house: House) -> None:
    both = await asyncio.gather(
        *(
            house.accounts.register(f"{n}@example.org", "Ada", PASSWORD, on_this_machine=True)
            for n in range(2)
        ),
        return_exceptions=True,
    )
    assert sorted(isinstance(b, AccountRefused) for b in both) == [False, True]


async def test_the_setup_token_comes_back_only_while_there_is_no_account(house: House) -> None:
    before = house.token.path.read_text()
    await house.again().open()
    assert house.token.path.read_text() == before
    await house.accounts.create("a@example.org", "Ada", PASSWORD, "admin")
    house.token.ensure()
    await house.again().open()
    assert not house.token.path.exists()


@pytest.mark.parametrize(
    ("policy", "first", "second"), [("first", True, False), ("open", True, True), ("closed", False, False)]
)
async def test_registration_policy(house: House, policy: str, first: bool, second: bool) -> None:
    accounts = house.again(registration=policy)
    await accounts.open()
    assert accounts.may_register is first
    await accounts.create("a@example.org", "Ada", PASSWORD, "admin")
    assert accounts.may_register is second
    if second:
        account, _ = await accounts.register("b@example.org", "Bob", PASSWORD)
        assert account.role == "user"
    else:
        with pytest.raises(AccountRefused):
            await accounts.register("b@example.org", "Bob", PASSWORD)
    accounts.close()


async def test_is_single_is_what_lets_webhooks_go_to_private_addresses(house: House) -> None:
    open_to_all = house.again(registration="open")
    await open_to_all.open()
    assert not open_to_all.is_single
    await house.accounts.create("a@example.org", "Ada", PASSWORD, "admin")
    assert house.accounts.is_single
    await house.accounts.create("b@example.org", "Bob", PASSWORD, "user")
    assert not house.accounts.is_single


@pytest.mark.parametrize(
    ("email", "name", "password", "reason"),
    [
        ("no-at-sign", "Ada", PASSWORD, "email_invalid"),
        ("a b@example.org", "Ada", PASSWORD, "email_invalid"),
        ("a" * 250 + "@example.org", "Ada", PASSWORD, "email_invalid"),
        ("a@example.org", "  ", PASSWORD, "name_invalid"),
        ("a@example.org", "Ada", "short", "password_short"),
        ("a@example.org", "Ada", "x" * 257, "password_long"),
    ],
)
async def test_bad_input_is_named(house: House, email: str, name: str, password: str, reason: str) -> None:
    with pytest.raises(AccountRefused) as refused:
        await house.accounts.create(email, name, password, "user")
    assert refused.value.reason == reason
    assert refused.value.errors[0].field == reason.split("_")[0]


async def test_an_email_is_taken_in_either_case(house: House) -> None:
    await house.accounts.create("Ada@example.org", "Ada", PASSWORD, "admin")
    with pytest.raises(AccountRefused) as refused:
        await house.accounts.create("ada@Example.org", "Ada", PASSWORD, "user")
    assert refused.value.reason == "email_taken"


async def test_login(house: House) -> None:
    account, _ = await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    assert account.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await house.accounts.login(" ADA@example.org ", PASSWORD)).id == account.id
    for email, password in [("ada@example.org", "not it"), ("nobody@example.org", PASSWORD)]:
        with pytest.raises(AccountRefused) as refused:
            await house.accounts.login(email, password)
        assert refused.value.reason == "login_wrong"


async def test_a_changed_password_is_the_only_one(house: House) -> None:
    account, _ = await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    await house.accounts.set_password(account, "another good one")
    await house.accounts.login("ada@example.org", "another good one")
    with pytest.raises(AccountRefused):
        await house.accounts.login("ada@example.org", PASSWORD)


async def test_keys_are_64_hex_and_only_hash_and_seal_are_on_disk(house: House) -> None:
    account, key = await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    assert len(key) == 64
    assert set(key) <= set("0123456789abcdef")
    assert account.key_hash == hashlib.sha256(key.encode()).digest()
    assert house.accounts.reveal_key(account) == key
    await house.db.close()
    assert key.encode() not in house.db.path.read_bytes()
    await house.db.open()


async def test_a_sealed_key_opens_with_its_own_key_file_only(house: House, tmp_path: Path) -> None:
    account, _ = await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    other = Vault.from_file(tmp_path / "other")
    strange = Accounts(house.db, house.db.reader, other, house.clock, AccountSettings(), house.token)
    with pytest.raises(VaultError):
        strange.reveal_key(account)


async def test_rotation_refuses_the_old_key_at_once_and_tells(house: House) -> None:
    account, old = await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    told: list[str] = []
    house.accounts.on_key_rotated.append(told.append)
    assert await house.accounts.by_key(old)
    new = await house.accounts.rotate_key(account)
    assert told == [account.id]
    assert await house.accounts.by_key(old) is None
    found = await house.accounts.by_key(new)
    assert found is not None
    assert house.accounts.reveal_key(found) == new


async def test_rotation_under_load_never_leaves_the_old_key_good(house: House) -> None:
    account, key = await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    for _ in range(20):
        reads = [asyncio.create_task(house.accounts.by_key(key)) for _ in range(8)]
        fresh = await house.accounts.rotate_key(account)
        await asyncio.gather(*reads)
        assert await house.accounts.by_key(key) is None
        key = fresh


@pytest.mark.parametrize("key", ["", "x", "G" * 64, "A" * 64, "0" * 63, "0" * 64 + "\n", "0" * 64])
async def test_what_is_no_key_finds_nobody(house: House, key: str) -> None:
    await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    assert await house.accounts.by_key(key) is None


async def test_a_known_key_needs_no_disk(house: House) -> None:
    account, key = await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    await house.accounts.by_key(key)
    await house.db.transaction(lambda tx: tx.run("DELETE FROM accounts"))
    assert (await house.accounts.by_key(key)) == account


async def test_session_ids_are_new_at_each_login_and_stored_as_hash(house: House) -> None:
    account, _ = await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    sessions = house.accounts.sessions
    first = await sessions.start(account.id, "Browser", "127.0.0.1")
    second = await sessions.start(account.id, "Browser", "127.0.0.1", replaces=first)
    assert first != second
    assert await sessions.find(first) is None
    found = await sessions.find(second)
    assert found is not None
    assert found.token_hash == hashlib.sha256(second.encode()).digest()
    assert await sessions.find("fixed-by-somebody") is None


async def test_sessions_run_out_and_are_confirmed_for_an_hour(house: House) -> None:
    account, _ = await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    sessions = house.accounts.sessions
    token = await sessions.start(account.id, "Browser", "127.0.0.1")
    session = await sessions.find(token)
    assert session is not None
    assert sessions.is_confirmed(session)
    house.clock.now += 3600 * 1000
    assert not sessions.is_confirmed(session)
    await sessions.confirm(session)
    session = await sessions.find(token)
    assert session is not None
    assert sessions.is_confirmed(session)
    assert session.seen_at == session.created_at, "found is seen only for the next reader"
    session = await sessions.find(token)
    assert session is not None
    assert session.seen_at == house.clock.now
    house.clock.now += 14 * 24 * 3600 * 1000
    assert await sessions.find(token) is None


async def test_signing_out_elsewhere_keeps_this_browser(house: House) -> None:
    account, _ = await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    sessions = house.accounts.sessions
    here, there = [await sessions.start(account.id, "Browser", "127.0.0.1") for _ in range(2)]
    session = await sessions.find(here)
    assert session is not None
    assert await sessions.end_others(session) == 1
    assert await sessions.find(there) is None
    await sessions.end(session)
    assert await sessions.find(here) is None


async def test_guessing_is_throttled_before_anything_is_hashed(house: House) -> None:
    await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    limits = LoginLimits(house.clock)
    for n in range(PER_EMAIL.burst):
        limits.take(f"10.0.0.{n}", "ada@example.org")
    with pytest.raises(TooManyAttempts) as refused:
        limits.take("10.0.0.99", "ADA@example.org")
    assert refused.value.retry_after_s == pytest.approx(PER_EMAIL.every_s)
    limits.take("10.0.0.99", "bob@example.org")
    house.clock.now += int(PER_EMAIL.every_s * 1000)
    limits.take("10.0.0.99", "ada@example.org")


def test_one_address_cannot_try_many_accounts() -> None:
    clock = TurnedClock()
    limits = LoginLimits(clock)
    for n in range(PER_ADDRESS.burst):
        limits.take("10.0.0.1", f"{n}@example.org")
    with pytest.raises(TooManyAttempts):
        limits.take("10.0.0.1", "another@example.org")
    limits.take("10.0.0.2", "another@example.org")


async def test_right_passwords_are_never_throttled(house: House) -> None:
    await house.accounts.create("ada@example.org", "Ada", PASSWORD, "admin")
    for _ in range(PER_EMAIL.burst + 2):
        await house.accounts.login("ada@example.org", PASSWORD, "10.0.0.1")


async def test_wrong_logins_end_in_a_wait(house: House) -> None:
    for _ in range(PER_EMAIL.burst):
        with pytest.raises(AccountRefused):
            await house.accounts.login("ada@example.org", "guess", "10.0.0.1")
    with pytest.raises(TooManyAttempts):
        await house.accounts.login("ada@example.org", "guess", "10.0.0.1")
