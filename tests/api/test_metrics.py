"""`/metrics`: the format is sound, what happens is counted, and a scrape reads no table."""

import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from exposition import Scrape
from hook import receiving
from running import Account, Running, free_port, until

from appliance.api.metric_table import FAMILIES
from appliance.store import figures
from appliance.store.database import StoreSettings
from appliance.store.migrate import migrate
from appliance.store.query import Query

TEXT, UNCONFIRMED, REFUSED = "628111222333", "999000000008", "999000000006"
ONLY_SOMETIMES = {"backup_timestamp_seconds", "backup_bytes", "certificate_until_timestamp_seconds"}
LARGE = ("messages", "events", "deliveries", "receipts", "attempts", "media", "chats")


def scrape(gateway: Running) -> Scrape:
    answer = httpx.get(f"{gateway.url}/metrics", verify=False)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(answer.text)


def rises(gateway: Running, before: Scrape, name: str, by: int = 1, **labels: str) -> None:
    """Wait until the counter has risen so far, and no further."""

    def risen() -> bool:
        return scrape(gateway).since(before, "wa_gateway_" + name, **labels) >= by

    until(f"{name} {labels} +{by}", risen)
    assert scrape(gateway).since(before, "wa_gateway_" + name, **labels) == by


def test_every_family_is_there_with_its_kind_and_its_labels(shared: Running, account: Account) -> None:
    device = account.device()
    account.send(device, TEXT)
    found = scrape(shared)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        if family.name not in ONLY_SOMETIMES:
            assert found.kinds[family.full_name] == family.kind
            assert found.labels(family.full_name) - {"le"} <= set(family.labels)
        assert family.name.endswith("_total") == (family.kind == "counter")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say(shared: Running, account: Account) -> None:
    account.send(account.device(), TEXT)
    text = httpx.get(f"{shared.url}/metrics", verify=False).content
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_sends_receipts_and_incoming_messages_are_counted(start: Callable[..., Running]) -> None:
    gateway = start()
    account = gateway.account()
    device = account.device()
    before = scrape(gateway)
    for to in (TEXT, UNCONFIRMED, REFUSED):
        account.send(device, to)
    account.ok("POST", f"/devices/{device}/sandbox/receive", {"text": "x", "count": 3})
    rises(gateway, before, "messages_accepted_total", 3, sandbox="true")
    rises(gateway, before, "messages_settled_total", 1, status="sent")
    rises(gateway, before, "messages_settled_total", 1, status="unconfirmed")
    rises(gateway, before, "messages_settled_total", 1, status="failed", code="expired")
    rises(gateway, before, "messages_received_total", 3)
    rises(gateway, before, "receipts_total", 1, status="read")
    after = scrape(gateway)
    assert after.value("wa_gateway_send_seconds_count") == 1
    assert after.value("wa_gateway_device_connected", device=device, sandbox="true") == 1
    assert after.value("wa_gateway_devices", status="CONNECTED") == 1
    assert after.value("wa_gateway_messages_waiting", device=device) == 0
    assert after.since(before, "wa_gateway_store_commits_total") > 0
    assert after.since(before, "wa_gateway_store_group_seconds_count") > 0


def test_what_waits_is_told_with_its_age(account: Account, shared: Running) -> None:
    device = account.device()
    account.ok("POST", f"/devices/{device}/sandbox/state", {"status": "RECONNECTING"})
    account.send(device, TEXT)
    found = scrape(shared)
    assert found.value("wa_gateway_messages_waiting", device=device) == 1
    until(
        "an age", lambda: scrape(shared).value("wa_gateway_message_oldest_waiting_seconds", device=device) > 0
    )
    assert found.value("wa_gateway_device_connected", device=device, sandbox="true") == 0
    account.ok("DELETE", f"/devices/{device}")


def test_requests_refusals_and_logins_are_counted(start: Callable[..., Running]) -> None:
    gateway = start(settings={"limits.messages_per_minute": 1})
    account = gateway.account("somebody@example.test")
    device = account.device()
    before = scrape(gateway)
    account.send(device, TEXT)
    account.refused(
        429, "rate_limited", "POST", "/messages/send-text", {"deviceId": device, "to": TEXT, "text": "x"}
    )
    account.refused(404, "not_found", "GET", "/nothing")
    with httpx.Client(base_url=gateway.url, headers={"Origin": gateway.url}, verify=False) as browser:
        csrf = re.search(r'name="csrf" value="([^"]+)"', browser.get("/login").text)
        assert csrf is not None
        form = {"csrf": csrf[1], "email": "somebody@example.test", "password": "not this one"}
        browser.post("/login", data=form)
        browser.post("/login", data=form | {"password": "a long password"})
    rises(gateway, before, "http_requests_total", 1, kind="send", status="2xx")
    rises(gateway, before, "http_requests_total", 1, kind="send", status="4xx")
    rises(gateway, before, "http_refusals_total", 1, code="rate_limited")
    rises(gateway, before, "http_refusals_total", 1, code="not_found")
    rises(gateway, before, "rate_limited_total", 1)
    rises(gateway, before, "logins_total", 1, outcome="wrong")
    rises(gateway, before, "logins_total", 1, outcome="right")
    assert scrape(gateway).value("wa_gateway_http_request_seconds_count", kind="send") == 2


def test_deliveries_are_counted_by_what_became_of_them(start: Callable[..., Running]) -> None:
    gateway = start()
    account = gateway.account()
    device = account.device()
    before = scrape(gateway)
    with receiving() as good, receiving(status=500) as bad, receiving(status=410) as gone:
        for hook in (good, bad, gone):
            account.ok("POST", "/webhooks", {"url": hook.url, "events": ["message.received"]})
        nobody = f"http://127.0.0.1:{free_port()}/hook"
        account.ok("POST", "/webhooks", {"url": nobody, "events": ["message.received"]})
        account.ok("POST", f"/devices/{device}/sandbox/receive", {"text": "x"})
        rises(gateway, before, "webhook_attempts_total", 1, outcome="delivered", answer="2xx")
        rises(gateway, before, "webhook_attempts_total", 1, outcome="failed", answer="5xx")
        rises(gateway, before, "webhook_attempts_total", 1, outcome="stopped", answer="4xx")
        rises(gateway, before, "webhook_attempts_total", 1, outcome="failed", answer="none")

        def states() -> dict[str, float]:
            found = scrape(gateway)
            return {
                state: found.value("wa_gateway_webhooks", state=state)
                for state in ("ok", "failing", "stopped")
            }

        until("every state", lambda: states() == {"ok": 1, "failing": 2, "stopped": 1})
    found = scrape(gateway)
    assert found.value("wa_gateway_webhook_attempt_seconds_count") == 4
    assert found.value("wa_gateway_deliveries_waiting") >= 2
    assert found.value("wa_gateway_delivery_lag_seconds", state="ok") == 0


def test_the_machine_is_told_of(shared: Running) -> None:
    found = scrape(shared)
    assert found.value("wa_gateway_memory_resident_bytes", process="main", device="") > 20_000_000
    proportional = found.value("wa_gateway_memory_proportional_bytes", process="main", device="")
    assert (
        5_000_000 < proportional <= found.value("wa_gateway_memory_resident_bytes", process="main", device="")
    )
    assert found.value("wa_gateway_open_files") > 5
    assert found.value("wa_gateway_database_bytes") > 100_000
    assert found.value("wa_gateway_disk_total_bytes") > found.value("wa_gateway_disk_free_bytes") > 0
    until("a look at the loop", lambda: scrape(shared).value("wa_gateway_loop_late_seconds_count") > 0)


def test_others_see_the_figures_only_when_they_are_public(
    start: Callable[..., Running], shared: Running
) -> None:
    proxied = {"X-Forwarded-For": "192.0.2.1"}
    assert httpx.get(f"{shared.url}/metrics", headers=proxied, verify=False).status_code == 404
    public = start(settings={"metrics.public": True})
    assert httpx.get(f"{public.url}/metrics", headers=proxied, verify=False).status_code == 200


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    migrate(tmp_path / "gateway.db", StoreSettings())
    return sqlite3.connect(tmp_path / "gateway.db")


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        (figures.deliveries_waiting(), {"deliveries_fresh", "deliveries_due"}),
        (figures.behind(7), {"deliveries_fresh", "deliveries_due"}),
        (figures.oldest_waiting(["d", "e"]), {"messages_waiting"}),
    ],
)
def test_a_scrape_looks_into_indexes_of_what_waits(
    connection: sqlite3.Connection, query: Query[Any], indexes: set[str]
) -> None:
    steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.args)]
    connection.close()
    used = {index for step in steps for index in re.findall(r"INDEX ([a-z]\w+)", step)}
    assert used == indexes, steps
    whole = re.compile(rf"SCAN ({'|'.join(LARGE)})\b(?! USING)")
    assert not [step for step in steps if whole.search(step)], steps
