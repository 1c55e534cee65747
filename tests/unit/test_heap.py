"""Memory that was needed for a moment is given back."""

import subprocess
import sys

from patience import PATIENCE_S

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
        [sys.executable, "-c", LOGINS], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    hashes_kept = float(run.stdout)
    assert hashes_kept < 0.25


# In a process of its own too: what was frozen and let go cannot be told apart later.
START = """
import ssl
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance import heap


def clean_kib():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    kinds = ("Private_Clean:", "Shared_Clean:")
    return sum(int(line.split()[1]) for line in lines if line.startswith(kinds))


def work():
    ssl.create_default_context()
    sealed = AESGCM(bytes(32)).encrypt(bytes(12), b"told", None)
    return AESGCM(bytes(32)).decrypt(bytes(12), sealed, None)


work()
before = clean_kib()
heap.settle(heap.loaded())
after = clean_kib()
assert work() == b"told"
print(after / before)
"""


def test_what_only_the_start_read_is_let_go_and_comes_back_when_it_is_used() -> None:
    run = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    kept = float(run.stdout)
    assert kept < 0.5


ELSEWHERE = """
import ctypes
import mmap

from appliance import heap

page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
page.write(b"mine")
start = ctypes.addressof(ctypes.c_char.from_buffer(page))
heap.settle([(start, start + mmap.PAGESIZE)])
print(page[:4])
"""


def test_what_came_to_stand_in_the_place_of_a_file_is_left_alone() -> None:
    run = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=True)
    assert run.stdout == "b'mine'\n"
