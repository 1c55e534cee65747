"""The signature checker: paste a body and its headers, and it says which step of verifying goes wrong."""

from typing import Any

import msgspec
from litestar import get, post

from appliance.dashboard.forms import Form, Typed
from appliance.dashboard.pages import Page, Pages, Problem
from appliance.dashboard.visitor import Member
from appliance.gateway.gateway import Gateway
from appliance.gateway.signature_check import (
    ID,
    TOLERANCE_S,
    Given,
    Verdict,
    age_s,
    check,
    first_difference,
    read_headers,
)
from appliance.gateway.vault import VaultError
from appliance.model.webhook import Endpoint
from appliance.store import deliveries, events, webhooks

PATH = "/dashboard/signature"
MOST = 200
LONGEST = 1_000_000
AROUND = 30
ID_LONGEST = 16


class Result(msgspec.Struct, frozen=True):
    """What is said: a verdict a header, the age of the attempt in seconds when libraries would refuse it,
    and where the body departs from what was sent (its beginning and both continuations)."""

    verdicts: list[Verdict]
    age_s: int | None
    departs: tuple[str, str, str] | None


@get(PATH)
async def show_checker(gateway: Gateway, pages: Pages, member: Member, webhook: str = "") -> Page:
    return await _page(gateway, pages, member, typed=Typed(webhook=webhook))


# The form is larger than others: the longest body, written as a form writes it.
@post(PATH, request_max_body_size=LONGEST)
async def check_signature(gateway: Gateway, pages: Pages, member: Member, form: Form) -> Page:
    """Nothing of what was pasted is kept; it is only shown again to whoever pasted it."""
    typed = Typed({name: form.secret(name) for name in ("webhook", "secret", "headers", "body")})
    endpoint, headers = await _chosen(gateway, member, typed["webhook"]), read_headers(typed["headers"])
    secrets, problem = _secrets(gateway, endpoint, typed["secret"].strip()), ""
    if not secrets:
        problem = "signature.no_secret"
    elif not check(Given(body=b"", headers=headers, secrets=secrets)):
        problem = "signature.no_header"
    if problem:
        told = Problem(pages.text(member.visitor, problem))
        return await _page(gateway, pages, member, status=422, typed=typed, problem=told)
    sent = await _sent(gateway, endpoint, headers.get(ID, ""))
    # A browser sends line ends as CRLF, whatever was pasted.
    body = typed["body"].replace("\r\n", "\n").encode()
    result = _result(gateway, Given(body=body, headers=headers, secrets=secrets, sent=sent))
    return await _page(gateway, pages, member, typed=typed, result=result)


async def _chosen(gateway: Gateway, member: Member, endpoint_id: str) -> Endpoint | None:
    return await gateway.reader.one(webhooks.by_id(member.account.id, endpoint_id))


def _secrets(gateway: Gateway, endpoint: Endpoint | None, pasted: str) -> list[str]:
    if pasted or endpoint is None:
        return [pasted] if pasted else []
    seal = gateway.webhooks.seal
    try:
        previous = seal.previous_secret(endpoint, gateway.clock.now_ms())
        return [seal.secret(endpoint), *([previous] if previous else [])]
    except VaultError:
        return []


async def _sent(gateway: Gateway, endpoint: Endpoint | None, event_id: str) -> bytes | None:
    """The body that the gateway sent under that id to that endpoint, if both are known."""
    if endpoint is None or not (event_id.isascii() and event_id.isdigit() and len(event_id) < ID_LONGEST):
        return None
    told = await gateway.reader.all(deliveries.of_event(endpoint.account_id, int(event_id)))
    event = await gateway.reader.one(events.by_no(int(event_id)))
    return event.body if event is not None and any(d.endpoint_id == endpoint.id for d in told) else None


def _result(gateway: Gateway, given: Given) -> Result:
    age = age_s(given.headers, gateway.clock.now_ms() // 1000)
    at = None if given.sent is None else first_difference(given.body, given.sent)
    departs = None
    if at is not None and given.sent is not None:
        begin = max(0, at - AROUND)
        pieces = (given.sent[begin:at], given.sent[at : at + AROUND], given.body[at : at + AROUND])
        departs = tuple(piece.decode("utf-8", "replace") for piece in pieces)
    return Result(
        verdicts=check(given),
        age_s=age if age is not None and abs(age) > TOLERANCE_S else None,
        departs=departs,  # type: ignore[arg-type]
    )


async def _page(gateway: Gateway, pages: Pages, member: Member, *, status: int = 200, **values: Any) -> Page:
    rows = await gateway.reader.all(webhooks.page(member.account.id, None, MOST))
    shown = {
        "here": "webhooks",
        "typed": Typed(),
        "problem": None,
        "result": None,
        "endpoints": [endpoint for _, endpoint in rows],
    }
    return pages.show(member.visitor, "signature.html", status=status, **(shown | values))


HANDLERS = [show_checker, check_signature]
