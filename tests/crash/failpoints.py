"""R4: the main process dies at every step of accepting, sending, receiving, delivering and coming back.

python tests/crash/failpoints.py [how many, default all] [seed]

One run in mixed traffic writes down every step that the process takes. Then it is killed at each of them, as
often as there are steps, and the books are compared.
"""

import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crash.books import Books, Kill, Victim
from crash.failpoint_sites import on_the_roads
from crash.mixed_traffic import THEIRS, Traffic, compare
from hook import Hook, receiving
from loopback.server import LoopbackServer
from patience import PATIENCE_S
from road import link_by_qr
from running import Account, Running, until

OURS = "628111000111"
PROGRAM = (sys.executable, str(Path(__file__).with_name("failpoint_main.py")))
AT_ONCE = 10
REACHED_WITHIN_S = 60.0
CALM_S, SLOW_S, SEND_EVERY_S, CROWDED_WITHIN_S = 1.0, 0.5, 0.25, 10.0
MOST_PASSES = 3

NEEDS_INTERRUPTED = ("Drains.recover", "Drains._write_all")
"""Steps that are only taken when a send's end is not known, which a worker that lives on would tell."""

Phase = Literal["starting", "running", "stopping"]


class Step(msgspec.Struct, frozen=True, order=True):
    """A moment of the process, as failpoint_main names them, and the part of its life in which it came."""

    moment: str
    phase: Phase

    @property
    def place(self) -> str:
        return self.moment.rpartition(" ")[0]


class Outcome(msgspec.Struct):
    """What a run gave: the steps that were seen, those at which the process died, and those that did not come
    again."""

    seen: set[Step] = msgspec.field(default_factory=set)
    died: list[str] = []
    missed: list[str] = []
    faults: list[str] = []

    def never_passed(self) -> list[str]:
        """The awaits on the roads that no step was seen of."""
        passed = {step.place for step in self.seen}
        return [place for place in on_the_roads() if place not in passed]

    def steps(self) -> list[Step]:
        """The steps to die at: both sides of a pause, the coming to an await that makes none, and both sides
        of each COMMIT."""
        wanted = set(on_the_roads())
        pausing = {step.place for step in self.seen if step.moment.endswith(" suspended")}
        return sorted(
            step
            for step in self.seen
            if step.moment.endswith(" COMMIT")
            or (step.place in wanted and not (step.moment.endswith(" entered") and step.place in pausing))
        )

    def lines(self) -> list[str]:
        return [
            f"{len(self.steps())} steps on the roads, died at {len(self.died)}",
            *(f"never passed: {place}" for place in self.never_passed()),
            *(f"not reached again: {moment}" for moment in self.missed),
            *(f"FAULT {fault}" for fault in self.faults),
        ]


class Stage:
    """A gateway in traffic, to be killed where one wishes."""

    def __init__(self, folder: Path, gateway: Running, net: LoopbackServer, hook: Hook, books: Books) -> None:
        self._order = folder / "order"
        self._seen = folder / "seen"
        self._read_up_to = 0
        self._gateway = gateway
        self._net = net
        self._hook = hook
        self._books = books
        self.account: Account
        self.device_id = ""
        self.webhook_id = ""
        self.sleeper: Account
        self.asleep = ""
        gateway.program = PROGRAM
        gateway.environment |= {"FAILPOINT_ORDER": str(self._order), "FAILPOINT_SEEN": str(self._seen)}

    def record(self, outcome: Outcome) -> None:
        """Note the steps of starts after crashes, of traffic with every trouble, and of a stop."""
        for group in (True, False):
            self._kill_while_sending(group=group)
            self._start()
            outcome.seen |= {Step(moment, "starting") for moment in self._moments()}
        self._give_order("")
        replies = self._books.replies
        for trouble in TROUBLES:
            time.sleep(CALM_S)
            trouble(self)
        time.sleep(CALM_S)
        self.account.connected(self.device_id)
        until("replies", lambda: self._books.replies > replies, REACHED_WITHIN_S)
        running = self._moments()
        outcome.seen = {step for step in outcome.seen if step.moment not in running}
        outcome.seen |= {Step(moment, "running") for moment in running}
        self._gateway.process.terminate()
        code = self._gateway.process.wait(PATIENCE_S)
        if code != 0:
            outcome.faults.append(f"exit code {code} at an orderly stop")
        outcome.seen |= {Step(moment, "stopping") for moment in self._moments() - running}
        self._order.unlink()
        self._start()

    def die_at(self, step: Step, passes: int) -> bool:
        """Have the process die there, after it has passed `passes` times, and start it again; False when it
        never came there."""
        if step.phase == "starting":
            self._kill_while_sending(group=any(name in step.moment for name in NEEDS_INTERRUPTED))
        self._give_order(step.moment, passes if step.phase == "running" else 0)
        with contextlib.suppress(AssertionError):
            if step.phase == "starting":
                self._start()
        if step.phase == "stopping":
            self._gateway.process.terminate()
        reached = self._is_killed_soon(step)
        self._order.unlink()
        if reached:
            self._books.kills.append(Kill("main", time.monotonic(), where=step.moment))
        elif self._gateway.process.poll() is None:
            self._kill("main")
        self._start()
        return reached

    def fail_deliveries(self) -> None:
        """The receiver of webhooks takes its time until others wait behind one delivery, and refuses that:
        those behind it are tried before it."""
        self._hook.may_answer.clear()
        with contextlib.suppress(AssertionError, httpx.TransportError):
            until("deliveries one behind the other", self._is_crowded, CROWDED_WITHIN_S)
        since = len(self._hook.posts)
        self._hook.status = 500
        self._hook.may_answer.set()
        with contextlib.suppress(AssertionError):
            until("another refused webhook", lambda: len(self._hook.posts) > since, CALM_S)
        self._hook.status = 200

    def let_expire(self) -> None:
        """Somebody else's device is away, and a message for it waits longer than it may."""
        away, path = {"status": "RECONNECTING"}, f"/devices/{self.asleep}/sandbox/state"
        wish = {"deviceId": self.asleep, "to": THEIRS, "text": "too late", "expiresIn": 1}
        with contextlib.suppress(AssertionError, httpx.TransportError):
            self.sleeper.ok("POST", path, away)
            headers = {"Prefer": "respond-async"}
            late = self.sleeper.ok("POST", "/messages/send-text", wish, headers=headers)
            self.sleeper.message(late["id"], "failed")

    def kill_worker(self) -> None:
        with contextlib.suppress(AssertionError, httpx.TransportError):
            self.account.connected(self.device_id)
        [lock] = (self._gateway.data / "devices").glob("*/lock")
        self._books.kills.append(Kill("worker", time.monotonic(), OURS))
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(lock.read_text()), signal.SIGKILL)

    def _kill_while_sending(self, *, group: bool) -> None:
        """WhatsApp is slow to answer, and in between the gateway dies."""
        self._net.set_fault("ack_delay_s", SLOW_S)
        with contextlib.suppress(AssertionError):
            until("message under way", self._is_sending, REACHED_WITHIN_S)
        self._kill("group" if group else "main")
        self._net.set_fault("ack_delay_s", 0.0)

    def _is_crowded(self) -> bool:
        path = f"/webhooks/{self.webhook_id}/deliveries"
        return len(self.account.ok("GET", path, params={"status": "pending"})["items"]) > 1

    def _is_sending(self) -> bool:
        return bool(self.account.ok("GET", "/messages", params={"status": "sending"})["items"])

    def _kill(self, victim: Victim) -> None:
        self._books.kills.append(Kill(victim, time.monotonic()))
        self._gateway.kill(group=victim == "group")

    def _give_order(self, moment: str, passes: int = 0) -> None:
        draft = self._order.with_suffix(".new")
        draft.write_text(f"{passes} {moment}")
        draft.replace(self._order)

    def _start(self) -> None:
        self._seen.unlink(missing_ok=True)
        self._read_up_to = 0
        self._gateway.start()

    def _is_killed_soon(self, step: Step) -> bool:
        """Whether the process is killed; troubles are made while it is not."""
        process = self._gateway.process
        troubles = itertools.cycle(TROUBLES) if step.phase == "running" else iter(())
        deadline = time.monotonic() + REACHED_WITHIN_S
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(AssertionError):
                until("death", lambda: process.poll() is not None, CALM_S)
            if process.poll() is None and (trouble := next(troubles, None)) is not None:
                trouble(self)
        return process.poll() == -signal.SIGKILL

    def _moments(self) -> set[str]:
        """What was seen since the last time."""
        with self._seen.open("rb") as file:
            file.seek(self._read_up_to)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_up_to += len(whole)
        return set(whole.decode().splitlines())


TROUBLES: Sequence[Callable[[Stage], None]] = (Stage.fail_deliveries, Stage.kill_worker, Stage.let_expire)


def run(
    folder: Path, outcome: Outcome, chance: random.Random, steps: Sequence[Step], sample: int = 0
) -> None:
    """Die at those steps, one after the other, and compare the books at the end. Without steps: record them,
    and die at a sample."""
    with _traffic(folder, outcome) as stage:
        if not steps:
            stage.record(outcome)
            steps = chance.sample(outcome.steps(), sample)
        for step in steps:
            reached = stage.die_at(step, chance.randrange(MOST_PASSES))
            (outcome.died if reached else outcome.missed).append(step.moment)


@contextmanager
def _traffic(folder: Path, outcome: Outcome) -> Iterator[Stage]:
    """A gateway with one device in traffic; at the end its books are compared."""
    books = Books()
    with LoopbackServer(folder / "net") as net, receiving() as hook:
        for number, name in ((OURS, "Ours"), (THEIRS, "Theirs")):
            net.add_account(number, name)
        settings = {
            "engine.proxy": net.proxy_url,
            "webhooks.allow": ["loopback"],
            "limits.messages_per_minute": 0,
        }
        gateway = Running(folder / "data", settings=settings, environment=net.client_env())
        stage = Stage(folder, gateway, net, hook, books)
        gateway.start()
        try:
            account = stage.account = gateway.account()
            stage.webhook_id = account.ok("POST", "/webhooks", {"url": hook.url})["id"]
            stage.sleeper = gateway.account()
            stage.asleep = stage.sleeper.device()
            device_id = stage.device_id = link_by_qr(net, account, OURS)
            traffic = Traffic(net, account, {OURS: device_id}, books, SEND_EVERY_S)
            try:
                yield stage
            finally:
                traffic.stop()
            account.connected(device_id)
            outcome.faults += compare(net, account, hook, books, [OURS]).faults
        finally:
            gateway.close()
            if gateway.process.poll() is None:
                gateway.stop()


def main(most: int, seed: int) -> int:
    chance, outcome = random.Random(seed), Outcome()
    with tempfile.TemporaryDirectory(prefix="failpoints-") as folder:
        run(Path(folder) / "0", outcome, chance, ())
        print("\n".join(outcome.lines()), flush=True)
        steps = chance.sample(outcome.steps(), min(most, len(outcome.steps())))
        for at in range(0, len(steps), AT_ONCE):
            some = steps[at : at + AT_ONCE]
            try:
                run(Path(folder) / str(at + 1), outcome, chance, some)
            except AssertionError as error:
                outcome.faults.append(f"{error}, among {[step.moment for step in some]}")
            print(f"{len(outcome.died)} of {len(steps)}, faults: {outcome.faults}", flush=True)
    print("\n".join(outcome.lines()))
    return 1 if outcome.faults or outcome.missed or outcome.never_passed() else 0


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(given + [sys.maxsize, 1][len(given) :])))
