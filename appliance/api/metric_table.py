"""What `/metrics` exports, as one table: every figure with its meaning and where it is read.

Labels are ids, states and codes: never a name, a number or an address.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from appliance.api.exposition import Family, Samples
from appliance.api.request_figures import RequestFigures
from appliance.api.streams import Streams
from appliance.gateway.figures import Counting, Moment
from appliance.gateway.gateway import Gateway
from appliance.gateway.processes import Memory
from appliance.gateway.store_care import StoreState
from appliance.model.device import DeviceStatus
from appliance.model.tally import Spread, yes_or_no


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that a scrape reads from."""

    now: Moment
    counting: Counting
    gateway: Gateway
    requests: RequestFigures
    streams: Streams
    store: StoreState
    versions: dict[str, str]


def _info(s: Sources) -> Samples:
    return {tuple(s.versions.get(name, "") for name in ("gateway", "engine", "sqlite")): 1}


def _answer_times(s: Sources) -> dict[tuple[str, ...], Spread]:
    return {(kind,): spread for kind, spread in s.requests.seconds.items()}


def _devices(s: Sources) -> Samples:
    counts = Counter(device.status for device in s.now.devices)
    return {(str(status),): counts[status] for status in DeviceStatus}


def _connected(s: Sources) -> Samples:
    return {
        (device.id, yes_or_no(device.sandbox)): int(device.status is DeviceStatus.CONNECTED)
        for device in s.now.devices
        if device.linked and device.wanted
    }


def _waiting(s: Sources) -> Samples:
    return {(device_id,): count for device_id, count in s.now.waiting.items()}


def _oldest_waiting(s: Sources) -> Samples:
    return {
        (device_id,): max(0, s.now.at_ms - since) / 1000 for device_id, since in s.now.oldest_since.items()
    }


def _webhooks(s: Sources) -> Samples:
    return {(group.state,): group.endpoints for group in s.now.behind}


def _lag(s: Sources) -> Samples:
    due = {group.state: group.due_since for group in s.now.behind}
    ages = {state: s.now.at_ms - (due.get(state) or s.now.at_ms) for state in ("ok", "failing")}
    return {(state,): max(0, age) / 1000 for state, age in ages.items()}


def _certificate_end(s: Sources) -> float | None:
    certificate = s.gateway.installation.certificate()
    return None if certificate is None else certificate.expires_at / 1000


def _lives(how: str) -> Callable[[Sources], Samples]:
    def read(s: Sources) -> Samples:
        return {(device,): count for (device, ended), count in s.counting.worker_lives if ended == how}

    return read


def _memory(part: Callable[[Memory], int | None]) -> Callable[[Sources], Samples]:
    def read(s: Sources) -> Samples:
        found = {place: part(memory) for place, memory in s.now.memory.items()}
        return {place: size for place, size in found.items() if size is not None}

    return read


FAMILIES: tuple[Family[Sources], ...] = (
    Family("info", "gauge", "What runs here; always 1.", _info, ("version", "engine", "sqlite")),
    Family(
        "start_timestamp_seconds",
        "gauge",
        "When this process was started.",
        lambda s: s.gateway.installation.started_at / 1000,
    ),
    Family(
        "http_requests_total",
        "counter",
        "Requests answered, by kind (send, api, dashboard) and class of the status.",
        lambda s: s.requests.answered,
        ("kind", "status"),
    ),
    Family(
        "http_request_seconds",
        "histogram",
        "Time until an answer began; a send waits there for WhatsApp, a poll for its event.",
        _answer_times,
        ("kind",),
    ),
    Family(
        "http_refusals_total",
        "counter",
        "API requests refused, by the problem's code.",
        lambda s: s.requests.refused,
        ("code",),
    ),
    Family(
        "rate_limited_total",
        "counter",
        "Messages refused because their device had no token left.",
        lambda s: s.gateway.limits.refused,
    ),
    Family(
        "logins_total",
        "counter",
        "Logins with a right or a wrong password.",
        lambda s: s.gateway.accounts.logins,
        ("outcome",),
    ),
    Family(
        "login_attempts_refused_total",
        "counter",
        "Attempts at passwords and tokens that were too many and not looked at.",
        lambda s: s.gateway.accounts.attempts_refused,
    ),
    Family("event_streams", "gauge", "Event streams that are open.", lambda s: len(s.streams)),
    Family("devices", "gauge", "Devices by status.", _devices, ("status",)),
    Family(
        "device_connected",
        "gauge",
        "Whether a device that is linked and not switched off is connected.",
        _connected,
        ("device", "sandbox"),
    ),
    Family(
        "messages_accepted_total",
        "counter",
        "Messages taken on to be sent.",
        lambda s: s.counting.drains.accepted,
        ("sandbox",),
    ),
    Family(
        "messages_settled_total",
        "counter",
        "Messages whose sending ended: sent, failed or unconfirmed, with the error's code.",
        lambda s: s.counting.drains.settled,
        ("sandbox", "status", "code"),
    ),
    Family(
        "send_seconds",
        "histogram",
        "Time WhatsApp took to take a message.",
        lambda s: s.counting.drains.answer_s,
    ),
    Family("messages_waiting", "gauge", "Messages that wait to be sent.", _waiting, ("device",)),
    Family(
        "message_oldest_waiting_seconds",
        "gauge",
        "Age of the message that has waited longest to be sent; absent when none waits.",
        _oldest_waiting,
        ("device",),
    ),
    Family(
        "messages_received_total",
        "counter",
        "New messages that came in.",
        lambda s: s.counting.incoming.stored,
        ("sandbox",),
    ),
    Family(
        "receipts_total",
        "counter",
        "Receipts that came in, by what they say.",
        lambda s: s.counting.receipts.arrived,
        ("status",),
    ),
    Family(
        "inbound_waiting",
        "gauge",
        "Events of devices that wait to be stored.",
        lambda s: s.counting.inbound.waiting,
    ),
    Family(
        "inbound_failed_total",
        "counter",
        "Events of devices that could not be stored and were set aside.",
        lambda s: s.counting.inbound.dead,
    ),
    Family(
        "webhook_attempts_total",
        "counter",
        "Webhook deliveries tried: delivered, failed, stopped or dead, and the class of the answer.",
        lambda s: s.counting.deliveries.attempts,
        ("outcome", "answer"),
    ),
    Family(
        "webhook_attempt_seconds",
        "histogram",
        "Time a webhook's receiver took to answer, or to fail.",
        lambda s: s.counting.deliveries.attempt_s,
    ),
    Family("webhooks", "gauge", "Webhooks by state.", _webhooks, ("state",)),
    Family(
        "deliveries_waiting",
        "gauge",
        "Webhook deliveries not yet through; counted up to 100,000.",
        lambda s: s.now.deliveries,
    ),
    Family(
        "delivery_lag_seconds",
        "gauge",
        "Age of the delivery that has been due longest, among webhooks that are well and that fail.",
        _lag,
        ("state",),
    ),
    Family(
        "worker_restarts_total",
        "counter",
        "Session workers that ended unasked and were started again.",
        _lives("restarted"),
        ("device",),
    ),
    Family(
        "worker_kills_total",
        "counter",
        "Session workers that were killed because they hung.",
        _lives("killed"),
        ("device",),
    ),
    Family(
        "memory_resident_bytes",
        "gauge",
        "Memory of each process; what it shares with others counts in full.",
        _memory(lambda memory: memory.resident),
        ("process", "device"),
    ),
    Family(
        "memory_proportional_bytes",
        "gauge",
        "Memory of each process; of what it shares, only its part. The sum is what the gateway takes.",
        _memory(lambda memory: memory.proportional),
        ("process", "device"),
    ),
    Family(
        "cpu_seconds_total", "counter", "Processor time of the main process.", lambda s: s.now.usage.cpu_s
    ),
    Family(
        "open_files",
        "gauge",
        "File descriptors that the main process has open.",
        lambda s: s.now.usage.descriptors,
    ),
    Family(
        "open_files_most",
        "gauge",
        "File descriptors that the main process may have open.",
        lambda s: s.now.usage.descriptors_most,
    ),
    Family(
        "loop_late_seconds",
        "histogram",
        "How late the main process wakes, looked at once a second.",
        lambda s: s.counting.lag.late_s,
    ),
    Family(
        "disk_free_bytes",
        "gauge",
        "Room left on the disk of the data directory.",
        lambda s: s.now.room.disk_free,
    ),
    Family(
        "disk_total_bytes",
        "gauge",
        "Size of the disk of the data directory.",
        lambda s: s.now.room.disk_total,
    ),
    Family(
        "disk_low", "gauge", "1 while new messages are refused for want of room.", lambda s: s.store.disk_low
    ),
    Family("database_bytes", "gauge", "Size of the database's file.", lambda s: s.now.room.database),
    Family("wal_bytes", "gauge", "Size of the database's write-ahead log.", lambda s: s.now.room.wal),
    Family(
        "store_commits_total",
        "counter",
        "Transactions that were committed.",
        lambda s: s.counting.writer().commits,
    ),
    Family(
        "store_changes_total",
        "counter",
        "Changes in committed transactions; several share one commit.",
        lambda s: s.counting.writer().changes,
    ),
    Family(
        "store_group_seconds",
        "histogram",
        "Time of a transaction with its commit.",
        lambda s: s.counting.writer().group_s,
    ),
    Family(
        "store_slow_total",
        "counter",
        "Transactions that took longer than 250 ms.",
        lambda s: s.counting.writer().slow,
    ),
    Family(
        "store_breaks_total",
        "counter",
        "Times that the database's connection was given up after an error of the disk.",
        lambda s: s.counting.writer().breaks,
    ),
    Family(
        "store_well",
        "gauge",
        "0 when somebody should look: no room, a failed backup, or a database that was replaced.",
        lambda s: s.store.is_well,
    ),
    Family(
        "store_replaced",
        "gauge",
        "1 when a damaged database was replaced and its files still lie there.",
        lambda s: s.store.recovery is not None,
    ),
    Family(
        "backup_timestamp_seconds",
        "gauge",
        "When the newest backup of the database was made; absent when there is none.",
        lambda s: None if s.store.backup is None else s.store.backup.at / 1000,
    ),
    Family(
        "backup_bytes",
        "gauge",
        "Size of the newest backup of the database.",
        lambda s: None if s.store.backup is None else s.store.backup.size,
    ),
    Family("backup_failed", "gauge", "1 when the last backup failed.", lambda s: s.store.backup_failed),
    Family(
        "certificate_until_timestamp_seconds",
        "gauge",
        "When the TLS certificate ends; absent without TLS.",
        _certificate_end,
    ),
)
"""In the order of the documentation."""
