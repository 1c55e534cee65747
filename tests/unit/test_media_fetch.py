"""Fetching files from real servers on loopback, which only these tests are allowed to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from media_rig import MediaRig, names, png, until

from appliance.gateway.addresses import PUBLIC_ONLY, Policy
from appliance.gateway.media_fetch import Fetcher
from appliance.gateway.media_settings import MediaSettings
from appliance.model.errors import (
    Invalid,
    MediaError,
    MediaTooLarge,
    MediaUnreachable,
    MediaUrlForbidden,
    UnsupportedMediaType,
)

LOOPBACK = Policy.parse(["loopback"])


class Shop:
    """A server with files, and with trouble."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.path)
        match request.path:
            case "/picture.png" | "/picture":
                return web.Response(body=png(), content_type="image/png")
            case "/named":
                disposition = {"Content-Disposition": "attachment; filename*=UTF-8''r%C3%A9sum%C3%A9.pdf"}
                return web.Response(body=b"%PDF-1.4", headers=disposition, content_type="application/pdf")
            case "/moved":
                return web.Response(status=302, headers={"Location": "/picture.png"})
            case "/big":
                return web.Response(body=bytes(5000))
            case "/long":
                return await self._without_length(request, 5000)
            case "/slow":
                await asyncio.Event().wait()
            case "/broken":
                answer = web.StreamResponse(headers={"Content-Length": "100"})
                await answer.prepare(request)
                await answer.write(b"x")
                assert request.transport is not None
                request.transport.close()
                return answer
        return web.Response(status=404)

    async def _without_length(self, request: web.BaseRequest, size: int) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(bytes(size))
        await answer.write_eof()
        return answer


@asynccontextmanager
async def shop() -> AsyncIterator[Shop]:
    found = Shop()
    protocols = web.Server(found.serve)
    listener = await asyncio.get_running_loop().create_server(protocols, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        listener.close()
        await protocols.shutdown(0.1)
        await listener.wait_closed()


async def test_a_file_is_fetched_with_its_name_and_type(tmp_path: Path) -> None:
    async with shop() as server, MediaRig(tmp_path, policy=LOOPBACK) as rig:
        picture = await rig.media.stage_url(f"{server.url}/picture.png?token=1", "image")
        assert await asyncio.to_thread(Path(picture.media.path).read_bytes) == png()
        assert (picture.media.mimetype, picture.media.width, picture.media.height) == ("image/png", 3, 2)
        assert picture.media.filename == "picture.png"
        document = await rig.media.stage_url(f"{server.url}/named", "document")
        assert (document.media.mimetype, document.media.filename) == ("application/pdf", "résumé.pdf")
        nameless = await rig.media.stage_url(f"{server.url}/picture", "document")
        assert nameless.media.filename == "document.png"


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("/missing", MediaUnreachable, "answered 404"),
        ("/moved", MediaUnreachable, "redirects are not followed"),
        ("/broken", MediaUnreachable, "broke off"),
        ("/big", MediaTooLarge, "4000 bytes"),
        ("/long", MediaTooLarge, "4000 bytes"),
    ],
)
async def test_what_cannot_be_fetched_says_why_and_leaves_nothing(
    tmp_path: Path, path: str, error: type[MediaError], says: str
) -> None:
    settings = MediaSettings(max_bytes=4000)
    async with shop() as server, MediaRig(tmp_path, policy=LOOPBACK, media=settings) as rig:
        with pytest.raises(error, match=says):
            await rig.media.stage_url(server.url + path, "document")
        assert server.asked == [path]
    assert names(tmp_path / "outgoing") == []


async def test_a_file_of_the_wrong_type_is_refused_and_deleted(tmp_path: Path) -> None:
    async with shop() as server, MediaRig(tmp_path, policy=LOOPBACK) as rig:
        with pytest.raises(UnsupportedMediaType, match="image/png"):
            await rig.media.stage_url(f"{server.url}/picture.png", "voice")
        await until(lambda: names(tmp_path / "outgoing") == [])


async def test_a_server_that_never_answers_is_given_up() -> None:
    async with shop() as server:
        fetcher = Fetcher(None, policy=LOOPBACK, timeout_s=0.2)
        with pytest.raises(MediaUnreachable, match="did not come within"):
            async with fetcher.open(f"{server.url}/slow", 100):
                pass


async def test_nobody_there_and_no_such_name() -> None:
    async with shop() as server:
        url = server.url
    with pytest.raises(MediaUnreachable, match="could not be connected"):
        async with Fetcher(None, policy=LOOPBACK).open(url, 100):
            pass

    async def no_address(_host: str) -> list[str]:
        raise OSError

    with pytest.raises(MediaUnreachable):
        async with Fetcher(None, policy=LOOPBACK, lookup=no_address).open("http://nowhere.test/", 100):
            pass


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "[::1]", "[::ffff:127.0.0.1]", "inside.test", "10.0.0.1"]
)
async def test_private_addresses_are_not_even_connected_to(host: str) -> None:
    async def inside(_host: str) -> list[str]:
        return ["127.0.0.1"]

    async with shop() as server:
        port = server.url.rpartition(":")[2]
        with pytest.raises(MediaUrlForbidden) as refused:
            async with Fetcher(None, policy=PUBLIC_ONLY, lookup=inside).open(f"http://{host}:{port}/", 100):
                pass
        assert refused.value.errors[0].field == "url"
        assert server.asked == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a", "data:text/plain,hi", "//x"])
async def test_only_http_is_fetched(url: str) -> None:
    with pytest.raises(MediaUrlForbidden):
        async with Fetcher(None).open(url, 100):
            pass


@pytest.mark.parametrize("url", ["http://", "http://exa mple.org/", "http://[::1/", "https://a..b/"])
async def test_what_is_no_url_names_the_field(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        async with Fetcher(None).open(url, 100):
            pass
    assert refused.value.errors[0].field == "url"
