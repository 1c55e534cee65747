"""The request of an attempt, rebuilt from the log, is the one that the receiver got."""

from pathlib import Path

import msgspec
from clock import HandClock
from delivery_rig import Rig
from receiver import Receiver

from appliance.gateway.clock import SystemClock
from appliance.gateway.delivery_attempt import SHOWN
from appliance.gateway.delivery_request import SentRequest, rebuilt
from appliance.gateway.endpoint_rules import MASK
from appliance.model.webhook import DeliveryStatus, Endpoint
from appliance.store import deliveries, events

SIGNATURES = {"X-Webhook-Signature", "webhook-signature"}


async def request_of(rig: Rig, endpoint: Endpoint) -> SentRequest:
    [delivery] = await rig.settled(endpoint, DeliveryStatus.DELIVERED)
    attempt = await rig.db.reader.one(deliveries.attempts_of(rig.account.id, delivery.id))
    event = await rig.db.reader.one(events.by_no(delivery.event_no))
    assert attempt is not None
    assert event is not None
    present = await rig.present(endpoint)
    return rebuilt(present, rig.webhooks.seal, delivery, event, attempt.n, attempt.at)


async def test_it_is_what_the_receiver_got(tmp_path: Path) -> None:
    async with Rig(tmp_path, SystemClock()) as rig, Receiver() as receiver:
        endpoint = await rig.endpoint(receiver.url, headers={"Authorization": "Bearer mine"})
        endpoint = await rig.webhooks.rotate_secret(rig.account.id, endpoint.id)
        await rig.tell()
        [got] = await receiver.wait_for(1)
        request = await request_of(rig, endpoint)
        assert request.body == got.body
        assert request.is_signed
        assert request.headers.pop("Authorization") == MASK
        assert "X-Webhook-Signature-Previous" in request.headers
        for name, value in request.headers.items():
            assert got.headers[name.lower()] == value, name


async def test_signatures_are_left_out_after_the_secret_was_rotated(tmp_path: Path) -> None:
    async with Rig(tmp_path, HandClock()) as rig, Receiver() as receiver:
        endpoint = await rig.endpoint(receiver.url)
        await rig.tell()
        await receiver.wait_for(1)
        assert (await request_of(rig, endpoint)).headers.keys() >= SIGNATURES
        await rig.advance(1)
        await rig.webhooks.rotate_secret(rig.account.id, endpoint.id)
        request = await request_of(rig, endpoint)
        assert not request.is_signed
        assert not SIGNATURES & request.headers.keys()


async def test_the_inspector_takes_everything_and_sends_nothing(tmp_path: Path) -> None:
    async with Rig(tmp_path, HandClock()) as rig:
        endpoint = await rig.webhooks.inspector(rig.account.id)
        again = await rig.webhooks.inspector(rig.account.id)
        assert msgspec.structs.replace(again) == endpoint
        await rig.tell(chat_kind="status", chat="status@broadcast")
        [delivery] = await rig.settled(endpoint, DeliveryStatus.DELIVERED)
        assert delivery.last_status == 200
        attempt = await rig.db.reader.one(deliveries.attempts_of(rig.account.id, delivery.id))
        assert attempt is not None
        assert attempt.answer == SHOWN
        assert (await request_of(rig, endpoint)).is_signed
