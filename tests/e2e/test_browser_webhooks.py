"""Webhooks in a real browser: the inspector live, the signature checker, the log, mending and changing."""

from chromium import NEEDS_CHROMIUM, log_in
from hook import receiving
from playwright.sync_api import Browser, Page, expect
from running import Running
from watched import keep_everywhere, watched

pytestmark = NEEDS_CHROMIUM


def test_the_inspector_shows_what_comes_and_leaves_reading_alone(browser: Browser, shared: Running) -> None:
    account = shared.account("inspector@example.test")
    device = account.device()
    with watched(browser, shared.url) as page:
        log_in(page, "inspector@example.test")
        page.get_by_role("link", name="Open the inspector").click()
        page.get_by_role("button", name="Show me a request").click()
        requests = page.locator("details.attempt")
        expect(requests).to_have_count(1)
        opened = requests.filter(has_text="This is a test of your webhook.")
        expect(opened.get_by_role("rowheader", name="X-Webhook-Signature")).to_be_visible()
        page.evaluate("document.addEventListener('copy', () => { window.copied = String(getSelection()); })")
        opened.get_by_role("button", name="Copy as curl").click()
        expect(opened.get_by_role("button", name="Copied")).to_be_visible()
        account.ok("POST", f"/devices/{device}/sandbox/receive", {"from": "999000000010", "text": "Halo!"})
        expect(requests).to_have_count(2)
        # The new one is on top and closed; what was being read stays open.
        expect(requests.first.locator("pre.body").first).to_be_hidden()
        expect(opened.get_by_role("rowheader", name="X-Webhook-Signature")).to_be_visible()
        requests.first.locator("> summary").click()
        expect(requests.first).to_contain_text("Halo!")
        keep_everywhere(page, ["inspector"])
        check_signature(page)


def check_signature(page: Page) -> None:
    """Take the newest request to the checker, as it is and then re-indented."""
    newest = page.locator("details.attempt").first
    rows = newest.locator("table.headers tr").all_inner_texts()
    headers = "\n".join(row.replace("\t", ": ") for row in rows)
    pretty = newest.locator("pre.body").first.inner_text()
    newest.locator("details > summary").click()
    exact = newest.locator("pre.exact").inner_text()
    page.get_by_role("link", name="Signature checker").click()
    page.get_by_label("Signature headers").fill(headers)
    page.get_by_label("Body").fill(exact)
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("Fits", exact=True)).to_have_count(2)
    page.get_by_label("Body").fill(pretty)
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("Does not fit", exact=True)).to_have_count(2)
    expect(page.get_by_text("without the added blanks").first).to_be_visible()
    keep_everywhere(page, ["signature"])


def test_a_list_that_is_shown_anew_keeps_the_keyboards_place(browser: Browser, shared: Running) -> None:
    account = shared.account("keyboard@example.test")
    with receiving(500, retry_after_s=3600) as hook, watched(browser, shared.url) as page:
        log_in(page, "keyboard@example.test")
        endpoint_id = account.ok("POST", "/webhooks", {"url": hook.url})["id"]
        account.ok("POST", f"/webhooks/{endpoint_id}/test", {})
        page.goto(f"/dashboard/webhooks/{endpoint_id}")
        links = page.get_by_role("link", name="message.received")
        expect(links).to_have_count(1)
        links.first.focus()
        place = links.first.get_attribute("href")
        account.ok("POST", f"/webhooks/{endpoint_id}/test", {})
        expect(links).to_have_count(2)
        assert page.evaluate("document.activeElement.getAttribute('href')") == place


def test_a_failing_receiver_is_seen_mended_and_delivered_to_again(browser: Browser, shared: Running) -> None:
    shared.account("failing@example.test")
    # An attempt that came by itself while the pages are looked at would stand among those that are counted.
    hook_with_patience = receiving(500, b"out of order", retry_after_s=3600)
    with hook_with_patience as hook, watched(browser, shared.url) as page:
        log_in(page, "failing@example.test")
        page.get_by_role("link", name="Webhooks", exact=True).click()
        page.get_by_label("Address").fill(hook.url)
        page.get_by_role("button", name="Add webhook").click()
        page.get_by_role("button", name="Send a test event").click()
        expect(page.get_by_role("cell", name="Will retry")).to_be_visible()
        expect(page.get_by_role("cell", name="Answered 500")).to_be_visible()
        page.reload()
        expect(page.get_by_role("img", name="Attempts in each")).to_be_visible()
        keep_everywhere(page, ["webhook-failing"])
        page.get_by_role("link", name="message.received").click()
        expect(page.get_by_text("out of order")).to_be_visible()
        keep_everywhere(page, ["delivery"])
        hook.status = 200
        page.get_by_role("button", name="Deliver again").click()
        expect(page.get_by_text("Attempt 2")).to_be_visible()
        expect(page.get_by_text("Delivered", exact=True)).to_be_visible()
        page.locator(".crumbs a").click()
        page.get_by_role("link", name="Change").click()
        page.get_by_text("Filters and headers").click()
        page.get_by_label("Groups").uncheck()
        keep_everywhere(page, ["webhook-edit"])
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved.")).to_be_visible()
        page.get_by_text("Switch off…").click()
        page.get_by_role("button", name="Switch off").click()
        expect(page.get_by_text("Nothing is sent until")).to_be_visible()
