"""From one event to one delivery for every endpoint that wants it, inside the event's own transaction."""

from functools import lru_cache

import msgspec

from appliance.model.event import EventType, NewEvent
from appliance.model.ids import new_id
from appliance.model.webhook import Delivery, EndpointFilters
from appliance.store import deliveries, webhooks
from appliance.store.database import Transaction

_DEFAULT_CHAT_KINDS = frozenset({"direct", "group"})


class Interest(msgspec.Struct, frozen=True):
    """What an endpoint wants, ready to be asked; None lets everything through."""

    events: frozenset[str]
    chat_kinds: frozenset[str]
    from_me: bool | None
    kinds: frozenset[str] | None
    remote_jids: frozenset[str] | None

    def wants(self, new: NewEvent) -> bool:
        if new.type not in self.events:
            return False
        if new.chat_kind is not None and new.chat_kind not in self.chat_kinds:
            return False
        if self.remote_jids is not None and new.chat is not None and new.chat not in self.remote_jids:
            return False
        return new.type is not EventType.MESSAGE_RECEIVED or self._wants_message(new)

    def _wants_message(self, new: NewEvent) -> bool:
        if self.from_me is not None and new.from_me is not self.from_me:
            return False
        return self.kinds is None or new.kind in self.kinds


class Fanout:
    """Queues the deliveries of new events."""

    def enqueue(self, tx: Transaction, event_no: int, new: NewEvent, now_ms: int) -> int:
        """Write one delivery for every endpoint that wants the event; returns how many. Runs on the writer's
        thread. An event with `only_endpoint` goes there and nowhere else, whatever the filters say."""
        wanted = [new.only_endpoint] if new.only_endpoint else self._interested(tx, new)
        for endpoint_id in wanted:
            deliveries.insert(
                tx,
                Delivery(
                    id=new_id(),
                    account_id=new.account_id,
                    endpoint_id=endpoint_id,
                    device_id=new.device_id,
                    event_no=event_no,
                    event_type=new.type,
                    due_at=now_ms,
                    created_at=now_ms,
                ),
            )
        return len(wanted)

    def _interested(self, tx: Transaction, new: NewEvent) -> list[str]:
        listening = tx.all(webhooks.listening(new.account_id, new.device_id))
        return [each.id for each in listening if _interest(each.events, each.filters).wants(new)]


@lru_cache(maxsize=4096)
def _interest(events: bytes, filters: bytes) -> Interest:
    wanted = msgspec.json.decode(filters, type=EndpointFilters)
    return Interest(
        events=frozenset(msgspec.json.decode(events, type=list[str])),
        chat_kinds=_DEFAULT_CHAT_KINDS if wanted.chat_kinds is None else frozenset(wanted.chat_kinds),
        from_me=wanted.from_me,
        kinds=None if wanted.kinds is None else frozenset(wanted.kinds),
        remote_jids=None if wanted.remote_jids is None else frozenset(wanted.remote_jids),
    )
