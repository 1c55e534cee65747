"""What the kernel tells of our memory."""

import subprocess
import sys

MIB = 1024 * 1024


def test_the_most_memory_is_our_own_and_not_that_of_who_started_us() -> None:
    ballast = bytearray(b"x") * (200 * MIB)
    code = "from appliance.gateway import processes; print(processes.memory_most())"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert len(ballast) == 200 * MIB
    assert 5 * MIB < int(told) < 150 * MIB
