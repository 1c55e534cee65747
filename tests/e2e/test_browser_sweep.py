"""Every page in a real browser, on phone and desk, light and dark, in both languages: nothing is wrong."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from axe import Axe
from chromium import NEEDS_CHROMIUM
from filled_shop import BUDI, FAR, GROUP, Shop, fill
from hook import receiving
from node_packages import NPM
from playwright.sync_api import Browser
from running import Running, running
from sweep import Look, Place, sweeping

# Every page is seen in both languages on both screens, and in both themes on both.
LOOKS = [
    Look("phone", "light", "en", is_thorough=True),
    Look("phone", "dark", "id"),
    Look("desk", "light", "id"),
    Look("desk", "dark", "en", is_thorough=True),
]
DOCS = Path(__file__).resolve().parents[2] / "web" / "docs"
BAD_PAGE = b"""<!doctype html><html lang="fr"><title>Bad</title><body>
<p style="color: #bbb; background: #fff; width: 2000px">pale and wide</p><button></button>
<p inert><a href="/never">never</a></p><a href="/" style="outline: none">unseen</a>
<img src="http://127.0.0.2:9/picture.png" alt=""><script src="/gone.js"></script>"""
FIRST = [Place("first-register", "/register", is_walked=True)]

pytestmark = [
    NEEDS_CHROMIUM,
    pytest.mark.skipif(NPM is None, reason="axe-core comes by npm, which is not installed"),
]


@pytest.fixture(scope="module")
def axe() -> Axe:
    return Axe()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway of its own, which is empty at first."""
    data = tmp_path_factory.mktemp("sweep") / "data"
    with running(data, settings={"webhooks.allow": ["loopback"], "accounts.registration": "open"}) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def first_pages(browser: Browser, gateway: Running, axe: Axe) -> dict[Look, list[str]]:
    """What is wrong with the pages that are there only until the first account is made."""
    wrong: dict[Look, list[str]] = {}
    for look in LOOKS:
        with sweeping(browser, look, axe, gateway.url, {"X-Forwarded-Proto": "http"}) as sweep:
            sweep.sign_in({})
            sweep.visit(FIRST)
            wrong[look] = sweep.wrong
    return wrong


@pytest.fixture(scope="module")
def shop(gateway: Running, first_pages: dict[Look, list[str]]) -> Iterator[Shop]:
    with receiving() as well, receiving(500, b"out of order") as ill:
        yield fill(gateway, well, ill)


class BadPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/gone.js" else 200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-security-policy", "img-src 'self'; style-src 'unsafe-inline'")
        self.end_headers()
        self.wfile.write(BAD_PAGE)

    def log_message(self, *_: object) -> None:
        pass


def test_the_sweep_sees_what_is_wrong(browser: Browser, axe: Axe) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BadPage) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with sweeping(browser, LOOKS[0], axe, f"http://127.0.0.1:{server.server_port}") as sweep:
            sweep.visit([Place("bad", "/bad", is_walked=True), Place("bad", "/worse")])
        server.shutdown()
        thread.join()
    wrong = "\n".join(sweep.wrong)
    for seen in (
        "lang is 'fr'",
        "px too wide",
        "CSP: img-src http://127.0.0.2:9",
        "Failed to load resource",
        "axe serious color-contrast",
        "axe critical button-name",
        'Tab does not reach <a href="/never"',
        'no visible focus: <a href="/"',
        "has the title of /bad",
    ):
        assert seen in wrong, wrong


def strangers_pages(shop: Shop) -> list[Place]:
    return [
        Place("login", "/login", is_walked=True),
        Place("register", "/register"),
        Place("invite", shop.invite),
        Place("invite-used", "/register/never-was-one", 404),
        Place("reset", shop.reset),
        Place("stranger-docs", "/docs"),
    ]


def newcomers_pages() -> list[Place]:
    return [
        Place("new-home", "/dashboard", is_walked=True),
        Place("new-devices", "/dashboard/devices"),
        Place("new-messages", "/dashboard/messages"),
        Place("new-webhooks", "/dashboard/webhooks"),
        Place("new-inspector", "/dashboard/inspector"),
        Place("new-signature", "/dashboard/signature"),
        Place("new-people", "/dashboard/people", 404),
    ]


def house_pages(shop: Shop) -> list[Place]:
    """What whoever runs the shop sees."""
    device = shop.devices["connected"]
    chats = "/dashboard/messages"
    webhooks = {name: f"/dashboard/webhooks/{webhook}" for name, webhook in shop.webhooks.items()}
    return [
        Place("home", "/dashboard", is_walked=True),
        Place("devices", "/dashboard/devices", is_walked=True),
        *(Place(f"device-{name}", f"/dashboard/devices/{id_}") for name, id_ in shop.devices.items()),
        Place("device-delete", f"/dashboard/devices/{device}/delete"),
        Place("messages", chats),
        Place("conversation", f"{chats}/{device}/{BUDI}@s.whatsapp.net", is_walked=True),
        Place("conversation-group", f"{chats}/{device}/{GROUP}"),
        Place("conversation-long", f"{chats}/{device}/{FAR}@s.whatsapp.net"),
        Place("message-new", f"{chats}/new"),
        Place("search", f"{chats}/search?q=jam"),
        Place("search-nothing", f"{chats}/search?q=tidakada"),
        Place("webhooks", "/dashboard/webhooks"),
        Place("webhook-well", webhooks["well"]),
        Place("webhook-ill", webhooks["ill"], is_walked=True),
        Place("webhook-edit", webhooks["well"] + "/edit"),
        Place("delivery-delivered", shop.deliveries["delivered"]),
        Place("delivery-failing", shop.deliveries["failing"]),
        Place("inspector", "/dashboard/inspector"),
        Place("signature", "/dashboard/signature"),
        Place("settings", "/dashboard/settings", is_walked=True),
        Place("people", "/dashboard/people"),
        Place("person", shop.person),
        Place("system", "/dashboard/system"),
        Place("nowhere", "/dashboard/nowhere", 404),
        Place("no-device", "/dashboard/devices/nobody", 404),
    ]


def docs_pages() -> list[Place]:
    names = sorted(page.stem for page in (DOCS / "en").glob("*.md"))
    return [
        Place("docs", "/docs"),
        *(Place(f"docs-{name}", f"/docs/{name}") for name in names if name not in {"index", "errors"}),
        Place("docs-errors", "/docs/errors"),
        Place("docs-error", "/docs/errors/device_banned"),
        Place("docs-decisions", "/docs/decisions"),
        Place("docs-changelog", "/docs/changelog"),
        Place("docs-nowhere", "/docs/nowhere", 404),
        Place("explorer", "/api/docs", may_break=("nested-interactive",)),
    ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_no_page_is_wrong(
    browser: Browser,
    gateway: Running,
    axe: Axe,
    first_pages: dict[Look, list[str]],
    shop: Shop,
    look: Look,
) -> None:
    """Console, CSP, other hosts, sideways scrolling, axe-core, Tab, titles, languages; pictures are kept."""
    with sweeping(browser, look, axe, gateway.url) as sweep:
        sweep.sign_in({})
        sweep.visit(strangers_pages(shop))
        sweep.sign_in(shop.newcomer)
        sweep.visit(newcomers_pages())
        shop.show_code()
        sweep.sign_in(shop.boss)
        sweep.visit(house_pages(shop))
        sweep.visit(docs_pages())
    wrong = first_pages[look] + sweep.wrong
    assert wrong == [], "\n".join(wrong)
