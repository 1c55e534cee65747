"""Conversations over HTTP: what they show and to whom, what the send box takes, and what files become."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from browser import Browser
from running import Account, Running, until

PASSWORD = "a long password"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301"
    "0100c9fe92ef0000000049454e44ae426082"
)
WRITER = "628111222333"
CHAT = f"{WRITER}@s.whatsapp.net"


class Member:
    """Somebody with a connected sandbox device, signed in, and the key of the same account."""

    def __init__(self, gateway: Running, email: str) -> None:
        self.api: Account = gateway.account(email)
        self.device = self.api.device("Shop")
        self.browser = Browser(gateway.url)
        self.browser.sign_in(email, PASSWORD)

    def hear(self, **message: Any) -> Any:
        body = {"from": WRITER, "pushName": "Budi", **message}
        return self.api.ok("POST", f"/devices/{self.device}/sandbox/receive", body)

    def chat(self, chat: str = CHAT, **query: Any) -> httpx.Response:
        return self.browser.see(f"/dashboard/messages/{self.device}/{chat}", params=query)

    def send(self, path: str, file: tuple[str, bytes, str] | None = None, **fields: str) -> httpx.Response:
        data = {"csrf": self.browser.csrf, **fields}
        return self.browser.http.post(path, data=data, files={"file": file or ("", b"", "")})

    def answer(self, file: tuple[str, bytes, str] | None = None, **fields: str) -> httpx.Response:
        return self.send(f"/dashboard/messages/{self.device}/{CHAT}", file, **fields)

    def newest(self) -> Any:
        return self.api.ok("GET", "/messages", params={"fromMe": "true", "limit": 1})["items"][0]


@pytest.fixture
def member(shared: Running, request: pytest.FixtureRequest) -> Iterator[Member]:
    member = Member(shared, f"{abs(hash(request.node.name))}@example.test")
    yield member
    member.browser.close()


def bubble(page: str, message_id: str) -> str:
    found = re.search(rf'<li id="m-{message_id}".*?(?=<li id="m-|</ol>)', page, re.DOTALL)
    assert found, f"no bubble of {message_id}"
    return found[0]


def test_a_conversation_shows_each_message_as_what_it_is(member: Member) -> None:
    text = member.hear(text="Halo <b>semua</b> https://evil.example")
    voice = member.hear(kind="voice")
    place = member.hear(kind="location", latitude=-6.2, longitude=106.8, name="Monas")
    page = member.chat().text
    assert "Halo &lt;b&gt;semua&lt;/b&gt; https://evil.example" in bubble(page, text["id"])
    assert 'href="https://evil' not in page
    assert f'href="/dashboard/media/{voice["id"]}"' in bubble(page, voice["id"])
    assert "Monas" in bubble(page, place["id"])
    assert "Budi" in member.browser.see("/dashboard/messages").text


def test_reactions_edits_and_deletions_stand_on_their_message(member: Member) -> None:
    first, second = member.hear(text="jam 7"), member.hear(text="salah kirim")
    member.hear(kind="reaction", target=first["id"], emoji="👍")
    member.hear(kind="edit", target=first["id"], text="jam 8")
    member.hear(kind="delete", target=second["id"])
    page = member.chat().text
    assert page.count('<li id="m-') == 2
    changed = bubble(page, first["id"])
    assert "👍" in changed
    assert "edited" in changed
    assert changed.index("jam 8") < changed.index("What it said before")
    assert "Deleted by its author" in bubble(page, second["id"])


def test_nobody_else_can_change_what_somebody_wrote(member: Member) -> None:
    group = "120363999000000001@g.us"
    first = member.hear(text="jam 7", group=group)
    member.hear(kind="edit", target=first["id"], text="jam 9", group=group, **{"from": "628999888777"})
    page = member.chat(group).text
    assert "jam 7" in bubble(page, first["id"])
    assert "jam 9" not in bubble(page, first["id"])


def test_people_of_a_group_are_named_and_answers_quoted(member: Member) -> None:
    group = "120363999000000001@g.us"
    first = member.hear(text="Rapat jam berapa?", group=group)
    second = member.hear(
        text="Jam 10", group=group, replyTo=first["id"], **{"from": "628555000222", "pushName": "Joko"}
    )
    page = member.chat(group).text
    assert "Budi" in bubble(page, first["id"])
    answer = bubble(page, second["id"])
    assert "Joko" in answer
    assert f"?at={first['id']}#m-{first['id']}" in answer


def test_older_messages_come_when_asked_for(member: Member) -> None:
    member.hear(text="die erste")
    member.hear(text="Halo", count=60)
    page = member.chat().text
    assert "die erste" not in page
    found = re.search(r'hx-get="([^"]+/older\?before=\d+)"', page)
    assert found
    older = member.browser.see(found[1]).text
    assert "die erste" in older
    assert older.count('<li id="m-') + page.count('<li id="m-') == 61
    by_link = re.search(r'class="older".*?href="([^"]+)"', page, re.DOTALL)
    assert by_link
    assert "die erste" in member.browser.see(by_link[1]).text


def test_long_texts_are_cut_and_shown_whole_when_asked_for(member: Member) -> None:
    message = member.hear(text="kata " * 2_000 + "akhir")
    page = member.chat().text
    assert "akhir" not in bubble(page, message["id"])
    assert "Show all 10005 characters" in page
    assert "akhir" in member.browser.see(f"/dashboard/messages/text/{message['id']}").text


def test_the_send_box_sends_a_text_and_answers(member: Member) -> None:
    asked = member.hear(text="Buka?")
    member.chat()
    answer = member.answer(text="Ya, <b>sampai</b> jam 9\r\nSilakan", reply=asked["id"])
    assert answer.status_code == 303, answer.text
    page = member.browser.see(answer.headers["location"]).text
    sent = member.newest()
    assert sent["text"] == "Ya, <b>sampai</b> jam 9\nSilakan"
    assert 'class="quote"' in bubble(page, sent["id"])


@pytest.mark.parametrize(
    ("file", "as_file", "kind"),
    [
        (("foto.png", PNG, "image/png"), "", "image"),
        (("foto.png", PNG, "image/png"), "yes", "document"),
        (("harga.pdf", b"%PDF-1.4 x", "application/pdf"), "", "document"),
        (("evil.png", b"<script>", "image/png"), "", "document"),
    ],
)
def test_the_send_box_sends_files_as_what_they_are(
    member: Member, file: tuple[str, bytes, str], as_file: str, kind: str
) -> None:
    member.hear(text="Halo")
    member.chat()
    assert member.answer(file, text="ini", as_file=as_file).status_code == 303
    sent = member.newest()
    assert (sent["kind"], sent["text"]) == (kind, "ini")
    assert file[0] in member.chat().text if kind == "document" else "Image" in member.chat().text


def test_one_form_sends_once_however_often_it_is_sent(member: Member) -> None:
    member.hear(text="Halo")
    found = re.search(r'name="once" value="(c[0-9a-z]{24})"', member.chat().text)
    assert found
    for text in ("sekali", "sekali", "lain"):
        assert member.answer(text=text, once=found[1]).status_code == 303
    mine = member.api.ok("GET", "/messages", params={"fromMe": "true"})["items"]
    assert [message["text"] for message in mine] == ["lain", "sekali"]


def test_a_refused_message_keeps_what_was_typed_and_leaves_no_file(member: Member, shared: Running) -> None:
    page = member.browser.see("/dashboard/messages/new")
    assert page.status_code == 200
    file = ("foto.png", PNG, "image/png")
    refused = member.send("/dashboard/messages/new", file, device=member.device, to="bukan nomor", text="<i>")
    assert refused.status_code == 422
    assert 'value="bukan nomor" aria-invalid="true"' in refused.text
    assert "&lt;i&gt;</textarea>" in refused.text
    until("no file left", lambda: not list((shared.data / "outgoing").glob("*")))
    by_script = member.browser.http.post(
        "/dashboard/messages/new",
        data={"csrf": member.browser.csrf, "to": "x", "text": "y"},
        files={"file": ("", b"", "")},
        headers={"HX-Request": "true"},
    )
    assert by_script.status_code == 422
    assert "<textarea" not in by_script.text
    assert 'role="alert"' in by_script.text


def test_an_upload_without_its_token_is_refused_before_its_file_is_kept(
    member: Member, shared: Running
) -> None:
    member.hear(text="Halo")
    for path in (f"/dashboard/messages/{member.device}/{CHAT}", "/dashboard/messages/new"):
        for fields in ({"csrf": "guessed"}, {}):
            answer = member.browser.http.post(
                path, data={**fields, "to": WRITER, "text": "x"}, files={"file": ("a.png", PNG, "image/png")}
            )
            assert answer.status_code == 403
        # The token after the file is too late.
        parts: list[tuple[str, Any]] = [
            ("file", ("a.png", PNG, "image/png")),
            ("csrf", (None, member.browser.csrf)),
        ]
        assert member.browser.http.post(path, files=parts).status_code == 403
        foreign = {"Origin": "http://evil.example"}
        sent = member.browser.http.post(
            path,
            data={"csrf": member.browser.csrf, "text": "x"},
            files={"file": ("", b"", "")},
            headers=foreign,
        )
        assert sent.status_code == 403
        assert member.browser.http.post(path, data={"csrf": member.browser.csrf}).status_code == 415
    assert not list((shared.data / "outgoing").glob("*"))
    assert member.api.ok("GET", "/messages", params={"fromMe": "true"})["items"] == []


def test_a_file_that_is_too_large_is_refused_in_words(start: Callable[..., Running]) -> None:
    gateway = start(settings={"media.max_bytes": 1_048_576})
    member = Member(gateway, "ada@example.test")
    member.hear(text="Halo")
    member.chat()
    answer = member.answer(("film.mp4", bytes(1_200_000), "video/mp4"), text="ini filmnya")
    assert answer.status_code == 422
    assert "at most 1 MiB" in answer.text
    assert "ini filmnya</textarea>" in answer.text
    assert not list((gateway.data / "outgoing").glob("*"))
    member.browser.close()


def test_files_are_saved_and_only_pictures_shown(member: Member) -> None:
    picture, paper = member.hear(kind="image"), member.hear(kind="document", filename="x.html")
    page = member.chat().text
    assert f'<img src="/dashboard/media/{picture["id"]}"' in page
    shown = member.browser.http.get(f"/dashboard/media/{picture['id']}", params={"show": "true"})
    assert shown.headers["content-type"].startswith("image/")
    assert shown.headers["content-disposition"] == "inline"
    for message in (picture, paper):
        saved = member.browser.http.get(f"/dashboard/media/{message['id']}")
        assert saved.headers["content-disposition"].startswith("attachment")
        assert saved.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in saved.headers["content-security-policy"]
    asked = member.browser.http.get(f"/dashboard/media/{paper['id']}", params={"show": "true"})
    assert asked.headers["content-disposition"].startswith("attachment")


def test_a_picture_in_name_only_is_not_shown(member: Member) -> None:
    evil = "PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=="
    fake = member.hear(kind="document", base64=evil, filename="a.png", mimetype="image/png")
    answer = member.browser.http.get(f"/dashboard/media/{fake['id']}", params={"show": "true"})
    assert answer.headers["content-disposition"].startswith("attachment")


def test_search_finds_words_and_leads_to_the_message(member: Member) -> None:
    wanted = member.hear(text="Rapat besok pukul sepuluh")
    member.hear(text="Halo", count=60)
    path = "/dashboard/messages/search"
    page = member.browser.see(path, params={"q": "rapat sepuluh"}).text
    assert "Rapat besok" in page
    found = re.search(rf'href="(/dashboard/messages/[^"]+at={wanted["id"]}#[^"]+)"', page)
    assert found
    assert "Rapat besok" in bubble(member.browser.see(found[1]).text, wanted["id"])
    assert "Nothing was found" in member.browser.see(path, params={"q": "tidakada"}).text
    for strange in ('"', "*", 'a" OR b', "NEAR(", "<b>", "🙏"):
        assert member.browser.see(path, params={"q": strange}).status_code == 200
    only = member.browser.see(path, params={"direction": "out", "q": "rapat"}).text
    assert "Nothing was found" in only


def test_somebody_elses_conversations_are_not_there(member: Member, shared: Running) -> None:
    message = member.hear(text="rahasia kami", kind="image")
    other = Member(shared, f"other-{abs(hash(message['id']))}@example.test")
    place = f"{member.device}/{CHAT}"
    for path in (
        f"/dashboard/messages/{place}",
        f"/dashboard/messages/{other.device}/{CHAT}",
        f"/dashboard/parts/messages/{place}",
        f"/dashboard/parts/messages/{place}/older?before=9",
        f"/dashboard/messages/text/{message['id']}",
        f"/dashboard/media/{message['id']}",
    ):
        assert other.browser.see(path).status_code == 404, path
    assert other.send(f"/dashboard/messages/{place}", text="x").status_code == 404
    refused = other.send("/dashboard/messages/new", device=member.device, to=WRITER, text="x")
    assert refused.status_code == 422
    for path in (
        "/dashboard/messages",
        f"/dashboard/messages?device={member.device}",
        "/dashboard/messages/search?q=rahasia",
        f"/dashboard/messages/search?kind=image&device={member.device}",
        f"/dashboard/parts/chats?device={member.device}",
    ):
        assert "rahasia kami" not in other.browser.see(path).text, path
    other.browser.close()


def test_a_part_that_did_not_change_moves_nothing(member: Member) -> None:
    member.hear(text="Halo")
    path = f"/dashboard/parts/messages/{member.device}/{CHAT}"
    seen = re.search(r'name="seen" value="([0-9a-f]+)"', member.browser.see(path).text)
    assert seen
    assert member.browser.see(path, params={"seen": seen[1]}).status_code == 204
    member.hear(text="lagi")
    assert "lagi" in member.browser.see(path, params={"seen": seen[1]}).text
