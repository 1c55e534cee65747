"""Memory that was needed for a moment is given back."""

import subprocess
import sys

# In a process of its own: the allocator's settings are a process's, and cannot be taken back.
LOGINS = """
import asyncio
import os

from appliance import heap
from appliance.gateway.passwords import MEMORY_KIB, Passwords


def resident_kib():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


async def crowd():
    passwords = Passwords()
    hashed = await passwords.hash("first")
    before = resident_kib()
    for _ in range(3):
        await asyncio.gather(*(passwords.verify(hashed, "second") for _ in range(4)))
    passwords.close()
    return (resident_kib() - before) / MEMORY_KIB


heap.hold()
print(asyncio.run(crowd()))
"""


def test_logins_leave_nothing_behind() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOGINS], capture_output=True, text=True, check=True, timeout=60
    )
    hashes_kept = float(run.stdout)
    assert hashes_kept < 0.25
