"""Messages as callers see them."""

import msgspec

from appliance.model.message import Message, MessageStatus


class MessageFailure(msgspec.Struct, rename="camel"):
    code: str
    message: str


class MessageAnswer(msgspec.Struct, rename="camel"):
    """`id` ours, `message_id` WhatsApp's (None until sent), `timestamp` seconds, `created_at` ms;
    `sandbox` only when it is."""

    id: str
    device_id: str
    message_id: str | None
    remote_jid: str
    from_me: bool
    participant: str | None
    kind: str
    type: str
    text: str | None
    content: msgspec.Raw
    status: MessageStatus | None
    error: MessageFailure | None
    timestamp: int | None
    created_at: int
    sandbox: bool | msgspec.UnsetType = msgspec.UNSET


def message_answer(message: Message) -> MessageAnswer:
    failure = None
    if message.error_code is not None:
        failure = MessageFailure(message.error_code, message.error_message or "")
    return MessageAnswer(
        id=message.id,
        device_id=message.device_id,
        message_id=message.wa_id,
        remote_jid=message.chat,
        from_me=message.from_me,
        participant=message.participant,
        kind=message.kind,
        type=message.type,
        text=message.text,
        content=msgspec.Raw(message.content),
        status=message.status,
        error=failure,
        timestamp=message.timestamp,
        created_at=message.created_at,
        sandbox=True if message.sandbox else msgspec.UNSET,
    )
