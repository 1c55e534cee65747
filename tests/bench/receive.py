"""S3: from the moment a virtual phone sends until the webhook receiver has it, at a steady pace.

python tests/bench/receive.py [rounds] [messages a second] [seconds of each]
"""

import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.load import now_s, quantile
from bench.sink import Sink
from loopback.phone import Phone
from loopback.server import LoopbackServer
from road import link_by_qr
from running import running, until

OURS, THEIRS = "628111000001", "628111000002"
P50_LIMIT_MS, P99_LIMIT_MS = 15, 60


async def write(phone: Phone, name: str, count: int, per_second: float) -> dict[str, float]:
    """Send `count` texts at that pace; when each of them was begun."""
    began, started = now_s(), {}
    for n in range(count):
        await asyncio.sleep(max(0.0, began + n / per_second - now_s()))
        text = f"{name} {n}"
        started[text] = now_s()
        await phone.send_text(OURS, text)
    return started


def measure(net: LoopbackServer, sink: Sink, name: str, per_second: float, seconds: float) -> list[float]:
    """The messages' times on the way, in ms."""
    count, before = int(per_second * seconds), sink.count()
    started = net.on_phone(THEIRS, lambda phone: write(phone, name, count, per_second))
    until("every webhook", lambda: sink.count() >= before + count, 60)
    arrived = {taken.told().data.text: taken.at_s for taken in reversed(sink.taken())}
    return [(arrived[text] - at_s) * 1000 for text, at_s in started.items()]


def main(rounds: int, per_second: float, seconds: float) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Sink() as sink,
        LoopbackServer(Path(folder) / "net") as net,
    ):
        net.add_account(THEIRS)
        settings = {"engine.proxy": net.proxy_url, "webhooks.allow": ["loopback"]}
        data = Path(folder) / "data"
        with running(data, settings=settings, environment=net.client_env()) as gateway:
            account = gateway.account()
            link_by_qr(net, account, OURS)
            account.ok("POST", "/webhooks", {"url": sink.url("good"), "events": ["message.received"]})
            measure(net, sink, "warm up", per_second, 1)
            for n in range(rounds):
                took = measure(net, sink, f"round {n}", per_second, seconds)
                p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
                print(f"phone to receiver, {per_second:.0f}/s   p50 {p50:.1f} ms  p99 {p99:.1f} ms", end="")
                print(f"   (limits {P50_LIMIT_MS} and {P99_LIMIT_MS} ms)", flush=True)


if __name__ == "__main__":
    given = [float(each) for each in sys.argv[1:]] + [3, 50, 10][len(sys.argv) - 1 :]
    main(int(given[0]), given[1], given[2])
