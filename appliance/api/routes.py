"""The API's table of contents, in the order of the documentation."""

from typing import Any

from appliance.api import account, devices, events, media, messages, metrics, sandbox, system, webhooks

API: list[Any] = [
    account.me,
    account.rotate_key,
    devices.create_device,
    devices.list_devices,
    devices.get_device,
    devices.update_device,
    devices.delete_device,
    devices.connect_device,
    devices.disconnect_device,
    devices.logout_device,
    devices.pair_code,
    devices.device_qr,
    devices.device_limits,
    events.device_events,
    events.account_events,
    events.mint_ticket,
    messages.send_text,
    media.send_media,
    webhooks.create_webhook,
    webhooks.list_webhooks,
    webhooks.get_webhook,
    webhooks.update_webhook,
    webhooks.delete_webhook,
    webhooks.rotate_secret,
    webhooks.test_webhook,
    webhooks.list_deliveries,
    webhooks.get_delivery,
    webhooks.replay_delivery,
    webhooks.replay_range,
    messages.list_messages,
    messages.get_message,
    media.message_media,
    media.linked_media,
    sandbox.scan,
    sandbox.set_state,
    sandbox.receipt,
    sandbox.receive,
]
"""Every route here answers at the root and below /api."""

FIXED: list[Any] = [
    system.index,
    system.healthz,
    system.readyz,
    metrics.metrics,
]
"""These have one address each."""
