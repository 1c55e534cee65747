"""Rate limits: one bucket of tokens per device, in memory, on the monotonic clock.

Accepting a message takes a token, which comes back 60 s later, so that there are never more than the limit
in any 60 s.
"""

import math
from collections import deque
from typing import Annotated

import msgspec

from appliance.model.clock import Clock
from appliance.model.errors import RateLimited
from appliance.store import messages
from appliance.store.database import Reader

WINDOW_S = 60.0


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`messages_per_minute` per device, 0 turns the limit off. `queue_per_device` bounds the messages that
    wait.

    `default_country_code` (digits) lets a number that begins with one 0 be read as national.
    """

    messages_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 30
    queue_per_device: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    default_country_code: Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,2}$")] | None = None


class RateState(msgspec.Struct, frozen=True):
    """The bucket now. `reset_at` is the epoch second when `remaining` next rises (now, when it is full)."""

    limit: int
    remaining: int
    reset_at: int


class Token(msgspec.Struct, frozen=True):
    """One taken token: the device's, and when it was taken (monotonic seconds)."""

    device_id: str
    taken_at: float


class RateLimits:
    """The buckets of all devices. `refused` counts what came without a token to take."""

    def __init__(self, clock: Clock, settings: LimitSettings) -> None:
        self._clock = clock
        self.limit = settings.messages_per_minute
        self._taken: dict[str, deque[float]] = {}
        self.refused = 0

    def use(self, settings: LimitSettings) -> None:
        """Go by these settings from now on; what was taken stays taken."""
        self.limit = settings.messages_per_minute

    async def rebuild(self, reader: Reader) -> None:
        """Count the messages accepted in the last minute before this start; times in the future count as
        now."""
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        for device_id, accepted_at in await reader.all(
            messages.accepted_since(now_ms - int(WINDOW_S * 1000))
        ):
            age_s = max(0, now_ms - accepted_at) / 1000
            self._taken.setdefault(device_id, deque()).append(now - age_s)
        for taken in self._taken.values():
            ordered = sorted(taken)
            taken.clear()
            taken.extend(ordered)

    def state(self, device_id: str) -> RateState:
        taken = self._current(device_id)
        wait_s = self._wait_s(taken) if taken else 0.0
        reset_at = math.ceil(self._clock.now_ms() / 1000 + wait_s)
        return RateState(self.limit, max(0, self.limit - len(taken)), reset_at)

    def take(self, device_id: str) -> Token | None:
        """Take a token; None when limits are off. Raises RateLimited with the seconds until the next one."""
        if self.limit <= 0:
            return None
        taken = self._current(device_id)
        if len(taken) >= self.limit:
            wait_s = self._wait_s(taken)
            self.refused += 1
            raise RateLimited(
                f"This device may send {self.limit} messages a minute. Try again in {math.ceil(wait_s)} s.",
                retry_after_s=wait_s,
            )
        token = Token(device_id, self._clock.monotonic())
        taken.append(token.taken_at)
        return token

    def give_back(self, token: Token | None) -> None:
        """Undo `take`; a token that came back by time already stays back."""
        if token is not None and token.taken_at in (taken := self._current(token.device_id)):
            taken.remove(token.taken_at)

    def forget(self, device_id: str) -> None:
        self._taken.pop(device_id, None)

    def _current(self, device_id: str) -> deque[float]:
        taken = self._taken.setdefault(device_id, deque())
        over = self._clock.monotonic() - WINDOW_S
        while taken and taken[0] <= over:
            taken.popleft()
        return taken

    def _wait_s(self, taken: deque[float]) -> float:
        # After the limit was lowered, several tokens must come back before there is one to take.
        next_back = min(max(0, len(taken) - self.limit), len(taken) - 1)
        return max(0.0, taken[next_back] + WINDOW_S - self._clock.monotonic())
