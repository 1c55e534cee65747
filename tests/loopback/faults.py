"""The switches a test flips to make the network misbehave."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(eq=False, slots=True)
class Faults:
    """All off by default; each may change at any time and acts from then on."""

    refuse_proxy: bool = False  # answer CONNECT with 502
    hang_proxy: bool = False  # accept TCP, never answer the CONNECT
    hang_upgrade: bool = False  # accept TCP and TLS, never answer the websocket upgrade
    silent_login: bool = False  # finish the Noise handshake, then say nothing
    mute: bool = False  # live connections stay open, but nothing is handled and nothing is said
    qr_refs: int = 6  # whatsmeow shows the first of six for 60 s, every other one for 20 s
    login_failure: int = 0  # answer logins with <failure reason=N/>: 401, 402, 403, 405, 503 …
    ban_code: int = 101  # with login_failure 402: why
    ban_expire_s: int = 3600  # with login_failure 402: for how long
    ack_delay_s: float = 0.0  # wait before each message's <ack>
    withhold_acks: bool = False  # relay messages but never acknowledge them: a send hangs
    ack_error: int = 0  # put error=N into message acks: 463, 479 …
    drop_on_message: int = 0  # cut TCP instead of acting on the next N messages
    drop_after_relay: int = 0  # relay the next N messages, then cut TCP instead of acknowledging
    ignore_pings: bool = False  # do not answer keepalives
    media_status: int = 0  # answer uploads and downloads with this HTTP status
    media_delay_s: float = 0.0  # wait before each upload's and download's answer
    iq_errors: dict[str, int] = field(default_factory=dict)  # xmlns -> error code

    def clear(self) -> None:
        """Back to a well-behaved network."""
        fresh = Faults()
        for switch in fields(self):
            setattr(self, switch.name, getattr(fresh, switch.name))
