"""Passwords: argon2id, hashed two at a time so that a crowd of logins cannot take the machine."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE = 2
MEMORY_KIB = 19 * 1024
TIME_COST = 2


class Passwords:
    """Hashes and verifies on its own two threads; 19 MiB, two passes (OWASP's figures for argon2id)."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=1)
        self._threads = ThreadPoolExecutor(AT_ONCE, "argon2")
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """The password's hash in PHC string form."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password made that hash. None (no such account) takes just as long and is False."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._verify, password_hash, password
        )

    def close(self) -> None:
        """End the threads; hashings under way are finished."""
        self._threads.shutdown(cancel_futures=True)

    def _verify(self, password_hash: str | None, password: str) -> bool:
        if password_hash is None:
            self._nobody = self._nobody or self._hasher.hash("nobody")
        try:
            matches = self._hasher.verify(password_hash or self._nobody or "", password)
        except (VerificationError, InvalidHashError):
            return False
        return matches and password_hash is not None
