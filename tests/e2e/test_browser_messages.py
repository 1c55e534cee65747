"""Conversations and devices in a real browser: what arrives by itself, what stays in place, what is sent."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import NEEDS_CHROMIUM, log_in
from playwright.sync_api import Browser, Page, expect
from running import Account, Running, until
from watched import keep_everywhere, watched

WRITER = "628111222333"
CHAT = f"{WRITER}@s.whatsapp.net"

pytestmark = NEEDS_CHROMIUM


class Shop:
    """An account with a connected sandbox device, and a page that is signed in to it."""

    def __init__(self, gateway: Running, page: Page, email: str) -> None:
        self.api: Account = gateway.account(email)
        self.device = self.api.device("Shop")
        self.page = page
        log_in(page, email)

    def hear(self, **message: Any) -> Any:
        body = {"from": WRITER, "pushName": "Budi", **message}
        return self.api.ok("POST", f"/devices/{self.device}/sandbox/receive", body)

    def open_chat(self, chat: str = CHAT) -> Page:
        self.page.goto(f"/dashboard/messages/{self.device}/{chat}")
        return self.page


@contextlib.contextmanager
def open_shop(browser: Browser, gateway: Running, name: str, **options: Any) -> Iterator[Shop]:
    with watched(browser, gateway.url, **options) as page:
        yield Shop(gateway, page, f"{abs(hash(name))}@example.test")


@pytest.fixture
def shop(browser: Browser, shared: Running, request: pytest.FixtureRequest) -> Iterator[Shop]:
    with open_shop(browser, shared, request.node.name) as shop:
        yield shop


def test_a_message_arrives_without_moving_what_is_read(shop: Shop) -> None:
    shop.hear(text="Halo", count=40)
    page = shop.open_chat()
    expect(page.locator(".bubble")).to_have_count(40)
    pane = page.locator("[data-pane]")
    assert pane.evaluate("pane => pane.scrollTop") == 0
    page.get_by_label("Message", exact=True).fill("belum selesai")
    shop.hear(text="yang baru")
    expect(page.get_by_text("yang baru").first).to_be_visible()
    expect(page.locator(".bubble").last).to_be_in_viewport()
    expect(page.locator("[data-news]")).to_have_text("A new message has arrived.")
    # Somebody reads further up: nothing may move there.
    pane.evaluate("pane => { pane.scrollTop = -400 }")
    top = "bubble => bubble.getBoundingClientRect().top"
    before = page.locator(".bubble").nth(20).evaluate(top)
    shop.hear(text="baris\n" * 5)
    expect(page.get_by_role("button", name="New messages")).to_be_visible()
    assert abs(page.locator(".bubble").nth(20).evaluate(top) - before) < 2
    page.get_by_role("button", name="New messages").click()
    expect(page.locator(".bubble").last).to_be_in_viewport()
    expect(page.get_by_label("Message", exact=True)).to_have_value("belum selesai")


def test_focus_and_opened_details_survive_what_arrives(shop: Shop) -> None:
    gone = shop.hear(text="salah")
    shop.hear(kind="delete", target=gone["id"])
    page = shop.open_chat()
    page.get_by_text("Deleted by its author").click()
    expect(page.locator("details.was .body")).to_have_text("salah")
    box = page.get_by_label("Message", exact=True)
    box.focus()
    shop.hear(text="lagi")
    expect(page.locator(".bubble", has_text="lagi")).to_be_visible()
    expect(page.locator("details.was .body")).to_be_visible()
    expect(box).to_be_focused()


def test_sending_a_text_a_reply_and_a_file(shop: Shop, tmp_path: Path) -> None:
    shop.hear(text="Buka?")
    page = shop.open_chat()
    box = page.get_by_label("Message", exact=True)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_have_text("Write something first.")
    page.locator(".bubble", has_text="Buka?").hover()
    page.get_by_role("link", name="Reply").click()
    expect(page.locator("[data-answering]")).to_contain_text("Buka?")
    expect(box).to_be_focused()
    box.fill("Ya!")
    page.keyboard.press("Control+Enter")
    sent = page.locator(".bubble.ours", has_text="Ya!")
    expect(sent.locator(".quote")).to_contain_text("Buka?")
    expect(sent.locator(".ticks")).to_contain_text("Read")
    expect(box).to_have_value("")
    expect(page.locator("[data-answering]")).to_be_hidden()
    expect(page.get_by_role("alert")).to_have_count(0)
    paper = tmp_path / "harga.pdf"
    paper.write_bytes(b"%PDF-1.4" + bytes(300_000))
    page.get_by_label("Attach a file").set_input_files(paper)
    expect(page.locator("[data-file]")).to_have_text("harga.pdf")
    page.get_by_role("button", name="Remove the file").click()
    expect(page.locator("[data-file]")).to_be_hidden()
    page.get_by_label("Attach a file").set_input_files(paper)
    page.evaluate(
        "window.shown = 0; new MutationObserver(() => { window.shown += 1; })"
        ".observe(document.querySelector('progress.sending'), {attributes: true})"
    )
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".bubble.ours .file", has_text="harga.pdf")).to_be_visible()
    assert page.evaluate("window.shown") >= 1
    expect(page.locator(".bubble.ours")).to_have_count(2)


def test_what_is_refused_stays_as_it_was_typed(shop: Shop, tmp_path: Path) -> None:
    page = shop.page
    page.goto(f"/dashboard/messages/new?device={shop.device}")
    paper = tmp_path / "harga.pdf"
    paper.write_bytes(b"%PDF-1.4 x")
    page.get_by_label("To", exact=True).fill("bukan nomor")
    page.get_by_label("Message", exact=True).fill("daftar harga")
    page.get_by_label("Attach a file").set_input_files(paper)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("not a number")
    expect(page.get_by_label("Message", exact=True)).to_have_value("daftar harga")
    page.get_by_label("To", exact=True).fill(WRITER)
    page.get_by_role("button", name="Send").click()
    page.wait_for_url(f"**/dashboard/messages/{shop.device}/*")
    bubble = page.locator(".bubble.ours", has_text="daftar harga")
    expect(bubble.locator(".file")).to_contain_text("harga.pdf")


def test_older_messages_and_whole_texts_come_into_the_page(shop: Shop) -> None:
    shop.hear(text="yang pertama")
    shop.hear(text="Halo", count=55)
    shop.hear(text="kata " * 1_000 + "akhir")
    page = shop.open_chat()
    page.get_by_role("link", name="Show all 5005 characters").click()
    expect(page.get_by_text(re.compile("akhir$"))).to_be_visible()
    expect(page.get_by_role("link", name="Show all")).to_have_count(0)
    older = page.get_by_role("link", name="Older messages")
    older.scroll_into_view_if_needed()
    first = page.locator(".bubble").first
    before = first.evaluate("bubble => bubble.getBoundingClientRect().top")
    first_id = first.get_attribute("id")
    older.click()
    expect(page.get_by_text("yang pertama")).to_have_count(1)
    after = page.locator(f"#{first_id}").evaluate("bubble => bubble.getBoundingClientRect().top")
    assert abs(after - before) < 120
    shop.hear(text="lagi")
    expect(page.locator(".bubble", has_text="lagi")).to_have_count(1)
    expect(page.get_by_text("yang pertama")).to_have_count(1)
    expect(page.locator(".bubble")).to_have_count(58)


def test_a_device_page_shows_what_happens(shop: Shop) -> None:
    page = shop.page
    page.goto(f"/dashboard/devices/{shop.device}")
    expect(page.locator("meter")).to_have_attribute("value", "30")
    opened = page.locator(".told").first
    opened.locator("summary").click()
    shop.api.send(shop.device, "999000000010", "Halo!")
    expect(page.locator(".told", has_text="message.received")).to_have_count(1)
    expect(page.locator("meter")).to_have_attribute("value", "29")
    expect(page.locator(".told details[open]")).to_have_count(1)
    page.get_by_label("Text", exact=True).fill("dari siapa saja")
    page.get_by_role("button", name="Receive it").click()
    expect(page.locator(".bubble.theirs", has_text="dari siapa saja")).to_be_visible()


def test_the_ring_counts_down(shop: Shop) -> None:
    page = shop.page
    page.goto("/dashboard/devices")
    page.get_by_label("Name").fill("Second")
    page.get_by_label("Sandbox").check()
    page.get_by_role("button", name="Add device").click()
    expect(page.locator("img.qr")).to_be_visible()
    ring = "parseFloat(getComputedStyle(document.querySelector('.ring .left')).strokeDashoffset)"
    begin = page.evaluate(ring)
    until("a shorter ring", lambda: page.evaluate(ring) > begin + 0.5)


def test_conversations_work_without_scripts(browser: Browser, shared: Running) -> None:
    with open_shop(browser, shared, "no scripts", java_script_enabled=False) as shop:
        shop.hear(text="Buka?")
        page = shop.page
        page.get_by_role("link", name="Messages").click()
        page.get_by_role("link", name="Budi").click()
        page.get_by_role("link", name="Reply").click(force=True)
        expect(page.locator(".answering")).to_contain_text("Buka?")
        page.get_by_label("Message", exact=True).fill("Ya!")
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_text("Sent.", exact=True)).to_be_visible()
        expect(page.locator(".bubble.ours .quote")).to_contain_text("Buka?")
        page.get_by_label("Search messages").fill("buka")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name="Budi").click()
        expect(page.locator(".bubble", has_text="Buka?").first).to_be_visible()


def test_every_page_fits_both_sizes_and_themes(shop: Shop) -> None:
    """Screenshots are kept for looking at; no page may scroll sideways."""
    fill(shop)
    page = shop.page
    for language in ("en", "id"):
        page.goto(f"/dashboard/messages?lang={language}")
        for name, path in {
            "chats": "/dashboard/messages",
            "chat": f"/dashboard/messages/{shop.device}/{CHAT}",
            "message-new": "/dashboard/messages/new",
            "search": "/dashboard/messages/search?q=jam",
            "device-busy": f"/dashboard/devices/{shop.device}",
            "device-delete": f"/dashboard/devices/{shop.device}/delete",
        }.items():
            page.goto(path)
            keep_everywhere(page, [name, language])


def fill(shop: Shop) -> None:
    """Somebody's ordinary day."""
    first = shop.hear(text="Halo, apakah toko buka hari ini?")
    answer = shop.api.send(
        shop.device, WRITER, "Ya, sampai jam 9 malam. Silakan mampir!", replyTo=first["id"]
    )
    shop.api.message(answer["id"], "read")
    shop.hear(kind="image", text="Seperti ini ya?")
    shop.hear(kind="reaction", target=answer["id"], emoji="👍")
    shop.hear(kind="voice")
    shop.hear(kind="document", filename="Daftar harga.pdf")
    seven = shop.hear(text="Saya datang jam 7")
    shop.hear(kind="edit", target=seven["id"], text="Saya datang jam 8")
    shop.hear(text="kata " * 300)
    group = "120363999000000001@g.us"
    shop.hear(text="Rapat jam berapa?", group=group, **{"from": "628555000111"})
    shop.hear(text="siapa ini", lid=True, **{"from": "628777000111"})
