"""Attempts at passwords and tokens: buckets per address and per email, asked before anything is hashed."""

import math

import msgspec

from appliance.model.clock import Clock
from appliance.model.errors import RateLimited

_MOST_BUCKETS = 10_000


class TooManyAttempts(RateLimited):
    """Too many tries from that address or for that account; `retry_after_s` until the next may be made."""

    title = "Too many attempts"


class Allowance(msgspec.Struct, frozen=True):
    """A bucket of `burst` attempts of which one comes back every `every_s` seconds."""

    burst: int
    every_s: float


PER_ADDRESS = Allowance(20, 15.0)
PER_EMAIL = Allowance(10, 60.0)


class LoginLimits:
    """The buckets, in memory, on the monotonic clock. A right password gives its attempt back. `refused`
    counts attempts that were not let through."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full_at: dict[tuple[str, str], float] = {}
        self.refused = 0

    def take(self, address: str, email: str) -> None:
        """Count one attempt against both buckets. Raises TooManyAttempts, and then counts nothing."""
        now = self._clock.monotonic()
        self._forget_full(now)
        buckets = self._buckets(address, email)
        wait_s = max(self._wait_s(key, allowance, now) for key, allowance in buckets)
        if wait_s > 0:
            self.refused += 1
            raise TooManyAttempts(
                f"Too many attempts. Try again in {math.ceil(wait_s)} s.", retry_after_s=wait_s
            )
        for key, allowance in buckets:
            self._full_at[key] = max(now, self._full_at.get(key, now)) + allowance.every_s

    def give_back(self, address: str, email: str) -> None:
        """The attempt was a right one: it does not count."""
        for key, allowance in self._buckets(address, email):
            if key in self._full_at:
                self._full_at[key] -= allowance.every_s

    def _buckets(self, address: str, email: str) -> list[tuple[tuple[str, str], Allowance]]:
        return [(("address", address), PER_ADDRESS), (("email", email.lower()), PER_EMAIL)]

    def _wait_s(self, key: tuple[str, str], allowance: Allowance, now: float) -> float:
        """Seconds until the bucket holds an attempt again. Kept is the moment at which it will be full:
        each attempt moves that on, and more than `burst` attempts ahead of now means empty."""
        ahead = self._full_at.get(key, now) - now + allowance.every_s
        return max(0.0, ahead - allowance.burst * allowance.every_s)

    def _forget_full(self, now: float) -> None:
        if len(self._full_at) > _MOST_BUCKETS:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
