"""A webhook's request as people look at it: headers, a body that can be read, and a line for curl."""

import shlex

import msgspec

from appliance.gateway.delivery_request import SentRequest, rebuilt
from appliance.gateway.gateway import Gateway
from appliance.model.webhook import INSPECTOR_URL, Attempt, Delivery, Endpoint
from appliance.store import deliveries, events

EXAMPLE_URL = "http://localhost:3000/webhook"
SHOWN_CHARACTERS = 20_000


class ShownRequest(msgspec.Struct, frozen=True):
    """`pretty` is the body indented; `exact` the bytes as text; `curl` sends the same request again."""

    sent: SentRequest
    pretty: str
    exact: str
    curl: str

    @property
    def is_long(self) -> bool:
        return len(self.pretty) > SHOWN_CHARACTERS

    @property
    def beginning(self) -> str:
        """What a list shows of the body."""
        return self.pretty[:SHOWN_CHARACTERS]


class Tried(msgspec.Struct, frozen=True):
    """An attempt with its request (None when its event is no longer kept) and the answer's beginning."""

    attempt: Attempt
    request: ShownRequest | None

    @property
    def answer(self) -> str:
        return (self.attempt.answer or b"").decode("utf-8", "replace")


async def tried(gateway: Gateway, endpoint: Endpoint, delivery: Delivery) -> list[Tried]:
    """The delivery's attempts, newest first."""
    attempts = await gateway.reader.all(deliveries.attempts_of(endpoint.account_id, delivery.id))
    event = await gateway.reader.one(events.by_no(delivery.event_no))
    if event is None:
        return [Tried(attempt, None) for attempt in reversed(attempts)]
    seal = gateway.webhooks.seal
    return [
        Tried(each, shown(endpoint, rebuilt(endpoint, seal, delivery, event, each.n, each.at)))
        for each in reversed(attempts)
    ]


def shown(endpoint: Endpoint, sent: SentRequest) -> ShownRequest:
    exact = sent.body.decode("utf-8", "replace")
    url = EXAMPLE_URL if endpoint.url == INSPECTOR_URL else endpoint.url
    parts = ["curl", "-X", "POST", shlex.quote(url)]
    for name, value in sent.headers.items():
        if name != "Content-Length":
            parts += ["-H", shlex.quote(f"{name}: {value}")]
    parts += ["--data-binary", shlex.quote(exact)]
    pretty = msgspec.json.format(sent.body, indent=2).decode("utf-8", "replace")
    return ShownRequest(sent, pretty, exact, " ".join(parts))
