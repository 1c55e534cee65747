"""R11: hours of mixed traffic, and what grows meanwhile: memory, descriptors, threads, the WAL.

python tests/crash/soak.py [minutes]
"""

import contextlib
import itertools
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crash.soak_traffic import Endpoints, Traffic
from processes import descendants, descriptors, memory_kib, threads
from running import Running, running, until

SETTINGS = {
    "webhooks.allow": ["loopback"],
    "limits.messages_per_minute": 0,
    "accounts.registration": "open",
    "logs.level": "warning",
}
SAMPLE_EVERY_S = 5.0
ASK_EVERY_S = 0.2
WARM_UP = 1 / 4
"""The part of the run that the slopes leave out: caches fill, and the heap finds its size."""
STRETCHES = 60
SLOPE_LIMIT_MIB_H, WAL_LIMIT_MIB = 1.0, 16.0
GONE_WITHIN_S = 60.0


class Sample(msgspec.Struct):
    """One look at the main process, `at_s` seconds after the start; `late_ms` is `/healthz`'s slowest
    answer since the last one, `helpers_kib` the PSS of all its descendants."""

    at_s: float
    rss_kib: int
    pss_kib: int
    helpers_kib: int
    descriptors: int
    threads: int
    wal_bytes: int
    late_ms: float


@dataclass
class Soak:
    """What came out."""

    samples: list[Sample] = field(default_factory=list)
    descriptors_before: int = 0
    descriptors_after: int = 0
    answers: dict[int, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def wal_most_mib(self) -> float:
        return max(sample.wal_bytes for sample in self.samples) / 2**20

    def lines(self) -> list[str]:
        first = int(len(self.samples) * WARM_UP)
        steady = self.samples[first:]
        at_h = [sample.at_s / 3600 for sample in steady]
        lines = [f"{self.samples[-1].at_s / 60:.1f} min, slopes from {steady[0].at_s / 60:.1f} min on"]
        for name, unit, values in (
            ("RSS", "MiB", [sample.rss_kib / 1024 for sample in steady]),
            ("PSS", "MiB", [sample.pss_kib / 1024 for sample in steady]),
            ("PSS of the helpers", "MiB", [sample.helpers_kib / 1024 for sample in steady]),
            ("descriptors", "", [float(sample.descriptors) for sample in steady]),
            ("threads", "", [float(sample.threads) for sample in steady]),
        ):
            lines.append(
                f"{name:20} {values[0]:8.1f} … {values[-1]:8.1f}  most {max(values):8.1f}  "
                f"slope {slope(at_h, values):+8.2f} {unit}/h"
            )
        late = sorted(sample.late_ms for sample in self.samples)
        return [
            *lines,
            f"WAL most {self.wal_most_mib:.1f} MiB (limit {WAL_LIMIT_MIB:.0f}); RSS limit "
            f"{SLOPE_LIMIT_MIB_H:+.0f} MiB/h",
            f"slowest /healthz of each {SAMPLE_EVERY_S:.0f} s: median {late[len(late) // 2]:.0f} ms, "
            f"most {late[-1]:.0f} ms",
            f"descriptors {self.descriptors_before} before, {self.descriptors_after} after all had gone",
            f"answers {dict(sorted(self.answers.items()))}, faults {len(self.faults)}: {self.faults[:5]}",
        ]


def slope(x: list[float], y: list[float]) -> float:
    """The middle one of the slopes between any two moments, each the median of a stretch of the run: one look
    in the middle of a password's hash (19 MiB for a moment) does not tilt it."""
    stretch = max(1, len(x) // STRETCHES)
    moments = [
        (statistics.median(x[at : at + stretch]), statistics.median(y[at : at + stretch]))
        for at in range(0, len(x), stretch)
    ]
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in itertools.combinations(moments, 2)
        if later[0] > earlier[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


class Pulse:
    """Asks for the health all the time, and remembers the slowest answer."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._slowest_ms = 0.0
        self._thread = threading.Thread(target=self._run, name="pulse")
        self._thread.start()

    def slowest_ms(self) -> float:
        """Since the last time this was asked."""
        slowest, self._slowest_ms = self._slowest_ms, 0.0
        return slowest

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as http:
            while not self._ended.wait(ASK_EVERY_S):
                began = time.monotonic()
                with contextlib.suppress(httpx.HTTPError):
                    http.get("/healthz")
                self._slowest_ms = max(self._slowest_ms, (time.monotonic() - began) * 1000)


def look(gateway: Running, at_s: float, late_ms: float) -> Sample:
    pid, wal = gateway.process.pid, gateway.data / "gateway.db-wal"
    helpers = 0
    for helper in descendants(pid):
        with contextlib.suppress(OSError):
            helpers += memory_kib(helper)
    return Sample(
        at_s=at_s,
        rss_kib=memory_kib(pid, "Rss"),
        pss_kib=memory_kib(pid),
        helpers_kib=helpers,
        descriptors=descriptors(pid),
        threads=threads(pid),
        wal_bytes=wal.stat().st_size if wal.exists() else 0,
        late_ms=late_ms,
    )


def run(folder: Path, seconds: float, every_s: float = SAMPLE_EVERY_S) -> Soak:
    """Traffic on a gateway of its own for that long, and a look at it now and then."""
    soak, endpoints = Soak(), Endpoints()
    with running(folder / "data", settings=SETTINGS) as gateway:
        soak.descriptors_before = descriptors(gateway.process.pid)
        traffic = Traffic(gateway, endpoints)
        pulse = Pulse(gateway.url)
        traffic.start()
        began = time.monotonic()
        with (folder / "samples.jsonl").open("wb") as kept:
            while (at_s := time.monotonic() - began) < seconds:
                soak.samples.append(look(gateway, at_s, pulse.slowest_ms()))
                kept.write(msgspec.json.encode(soak.samples[-1]) + b"\n")
                kept.flush()
                time.sleep(every_s)
        pulse.stop()
        traffic.stop()
        endpoints.close()
        # What waits for receivers that are gone is tried again and again, on a connection each: the fewest of
        # many looks are those that stay.
        soak.descriptors_after = descriptors(gateway.process.pid)
        with contextlib.suppress(AssertionError):
            until("closed descriptors", lambda: _settled(gateway, soak), GONE_WITHIN_S)
    soak.answers, soak.faults = dict(traffic.answers), traffic.faults
    return soak


def _settled(gateway: Running, soak: Soak) -> bool:
    soak.descriptors_after = min(soak.descriptors_after, descriptors(gateway.process.pid))
    return soak.descriptors_after <= soak.descriptors_before


def main(minutes: float) -> None:
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        print(f"samples: {folder}/samples.jsonl", flush=True)
        print("\n".join(run(Path(folder), minutes * 60).lines()), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
