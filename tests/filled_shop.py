"""A gateway as it looks after weeks of work: people, devices in every state, conversations, webhooks."""

import re
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec
from browser import Browser
from hook import Hook
from running import Account, Running, until

BOSS, NEWCOMER, PASSWORD = "boss@toko-bunga.example", "new@toko-bunga.example", "a long password"
BUDI, SITI, FAR = "628111222333", "628122333444", "4915212345678"
GROUP = "120363000000000001@g.us"
IN_2030 = 1_893_456_000_000
TALE = (
    "Selamat pagi, saya mau pesan bunga untuk hari Sabtu. Kalau bisa yang warnanya lembut, putih dan merah "
    "muda, jangan terlalu besar. Alamatnya nanti saya kirim. Terima kasih banyak ya 🙏\n\n"
    "https://example.com/katalog/2026/rangkaian-bunga-untuk-segala-suasana?warna=putih&ukuran=sedang"
)


class Shop(msgspec.Struct):
    """Where to find what was filled in: cookies of who is signed in, `devices` by their state, `webhooks`
    and `deliveries` by how they fare, paths of a `person`, of an `invite` and of a `reset`."""

    api: Account
    boss: dict[str, str]
    newcomer: dict[str, str]
    devices: dict[str, str]
    webhooks: dict[str, str]
    deliveries: dict[str, str]
    person: str
    invite: str
    reset: str

    def show_code(self) -> None:
        """Have the device that waits for a scan show its code: it gives up after a while."""
        device = self.devices["qr"]
        self.api.ok("POST", f"/devices/{device}/connect")
        until("QR code", lambda: self.api.http.get(f"/devices/{device}/qr").status_code == 200)


def fill(gateway: Running, well: Hook, ill: Hook) -> Shop:
    """Fill it: `well` is told everything, `ill` refuses it."""
    boss = gateway.account(BOSS, admin=True)
    gateway.account(NEWCOMER)
    with closing(Browser(gateway.url)) as browser:
        browser.sign_in(BOSS, PASSWORD)
        return _fill(gateway, boss, browser, well, ill)


def _fill(gateway: Running, boss: Account, browser: Browser, well: Hook, ill: Hook) -> Shop:
    webhooks = {
        "well": boss.ok("POST", "/webhooks", {"url": well.url})["id"],
        "ill": boss.ok("POST", "/webhooks", {"url": ill.url + "/a-rather-long-path-to-a-receiver"})["id"],
    }
    browser.see("/dashboard/inspector")
    browser.fill("/dashboard/inspector")
    devices = _devices(boss)
    _talk(boss, devices["connected"])
    deliveries = {
        "delivered": _delivery(boss, webhooks["well"], lambda each: each["status"] == "delivered"),
        "failing": _delivery(boss, webhooks["ill"], lambda each: each["attemptCount"] > 0),
    }
    people = browser.see("/dashboard/people").text
    person = _found(r'(/dashboard/people/\w+)">(?:(?!</h2>).)*</h2>', people.split(BOSS)[1])
    shop = Shop(
        api=boss,
        boss=dict(browser.http.cookies),
        newcomer=_cookies(gateway, NEWCOMER),
        devices=devices,
        webhooks=webhooks,
        deliveries=deliveries,
        person=person,
        invite=_found(r"(/register/[\w-]{20,})", browser.fill("/dashboard/people/invite").text),
        reset=_found(r"(/login/reset/[\w-]{20,})", browser.fill(f"{person}/reset").text),
    )
    browser.fill("/dashboard/system/backup")
    until("backup", lambda: "<tbody" in browser.see("/dashboard/parts/system/backups").text)
    return shop


def _devices(boss: Account) -> dict[str, str]:
    devices = {"connected": boss.device("Toko Bunga Melati")}
    for status in ("RECONNECTING", "DISCONNECTED", "LOGGED_OUT", "BANNED", "OUTDATED"):
        devices[status.lower()] = device = boss.device(f"Cabang {status.capitalize().replace('_', ' ')}")
        until_when = {"until": IN_2030} if status == "BANNED" else {}
        boss.ok("POST", f"/devices/{device}/sandbox/state", {"status": status, **until_when})
    devices["unlinked"] = boss.ok("POST", "/devices", {"name": "Nomor kantor yang belum ditautkan"})["id"]
    devices["qr"] = boss.ok("POST", "/devices", {"name": "Percobaan", "sandbox": True})["id"]
    return devices


def _talk(boss: Account, device: str) -> None:
    """Conversations with long and short texts, files, reactions, a group, answers and failures."""

    def hear(**message: Any) -> Any:
        return boss.ok("POST", f"/devices/{device}/sandbox/receive", message)

    hear(**{"from": SITI}, pushName="Siti Rahmawati", text="Terima kasih!")
    hear(**{"from": FAR}, pushName="Дмитрий 🌸 von und zu Überlang-Doppelname", text=TALE * 20)
    budi = {"from": BUDI, "pushName": "Budi"}
    asked = hear(**budi, text="Halo, masih buka?")
    boss.send(device, BUDI, "Masih, sampai jam 9 malam 😊", replyTo=asked["messageId"])
    hear(**budi, text=TALE)
    for kind in ("image", "video", "voice", "document", "sticker"):
        hear(**budi, kind=kind, **({"caption": "Seperti ini kira-kira"} if kind == "image" else {}))
    hear(**budi, kind="location", latitude=-6.2, longitude=106.816666, name="Pasar Bunga")
    hear(**budi, kind="reaction", target=asked["messageId"], emoji="👍")
    wrong = hear(**budi, text="jam 10")
    hear(**budi, kind="edit", target=wrong["messageId"], text="jam 11")
    gone = hear(**budi, text="salah kirim")
    hear(**budi, kind="delete", target=gone["messageId"])
    hear(**budi, kind="image", failDownload=True)
    boss.send(device, "999000000007", "Pesanan sudah dikirim.")
    boss.send(device, BUDI, "Baik, jam 11 ya. *Sampai jumpa*")
    waits = {"deviceId": device, "to": "999000000005", "text": "Ini menunggu."}
    boss.ok("POST", "/messages/send-text", waits, headers={"Prefer": "respond-async"})
    for name, text in (
        ("Budi", "Rapat jam berapa?"),
        ("Siti Rahmawati", "Jam 3 <b>tepat</b>"),
        ("Agus", "👍"),
    ):
        writer = {"Budi": BUDI, "Siti Rahmawati": SITI}.get(name, "628155666777")
        hear(**{"from": writer}, pushName=name, group=GROUP, text=text)


def _delivery(boss: Account, webhook: str, fits: Callable[[Any], bool]) -> str:
    """The path of the first delivery to `webhook` that fits, as soon as there is one."""
    path = f"/webhooks/{webhook}/deliveries"
    found = until("delivery", lambda: next(filter(fits, boss.ok("GET", path)["items"]), None))
    return f"/dashboard{path}/{found['id']}"


def _cookies(gateway: Running, email: str) -> dict[str, str]:
    with closing(Browser(gateway.url)) as browser:
        browser.sign_in(email, PASSWORD)
        return dict(browser.http.cookies)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.DOTALL)
    assert match, f"no {pattern} on the page"
    return match[1]
