"""The yardstick of S1: a Litestar POST that does nothing, on the same embedded Granian."""

import sys

import msgspec
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from litestar import Litestar, post


class Body(msgspec.Struct):
    """What send-text is sent."""

    text: str


class Answer(msgspec.Struct):
    """Something small to say."""

    ok: bool


@post("/empty", status_code=202)
async def empty(data: Body) -> Answer:
    return Answer(bool(data.text))


async def serve(port: int) -> None:
    app = Litestar([empty], openapi_config=None, logging_config=None)
    await Server(
        app, port=port, interface=Interfaces.ASGI, http=HTTPModes.http1, websockets=False, log_access=False
    ).serve()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
