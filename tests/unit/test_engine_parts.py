"""The small parts of the real engine: frames, waiting times, the folder's lock, and who imports what."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import PATIENCE_S

from appliance.engine import environment, factory, lock, wire
from appliance.engine.backoff import Backoff
from appliance.engine.base import OutgoingMedia, OutgoingMessage, Sent
from appliance.engine.settings import EngineSettings

HOLD = """
import sys, time
from pathlib import Path
from appliance.engine import lock
held = lock.take(Path(sys.argv[1]), 0)
print("held", flush=True)
time.sleep(60)
"""
LOOK = """
import sys
from appliance.engine import factory
from appliance.engine.settings import EngineSettings
factory.build(EngineSettings())
import appliance.engine.simulator
print([name for name in sys.modules if "neonize" in name.lower() or name.startswith("google.protobuf")])
"""


def test_frames_survive_any_cut() -> None:
    media = OutgoingMedia("/file", "image/png", 3, waveform=bytes(64))
    commands: list[wire.Down] = [
        wire.Start("d", "/folder", 5, linked=True, proxy=None),
        wire.Send(1, OutgoingMessage("1@lid", "image", "hé", media, mentions=["2@lid"])),
        wire.Ack(9),
        wire.Stop(),
    ]
    stream = b"".join(wire.frame(command) for command in commands)
    for step in (1, 7, len(stream)):
        frames, got = wire.FrameReader(), []
        for at in range(0, len(stream), step):
            frames.feed(stream[at : at + step])
            got += list(frames.commands())
        assert got == commands


def test_a_frame_too_long_is_nonsense() -> None:
    frames = wire.FrameReader()
    frames.feed(b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="a frame of"):
        list(frames.reports())


def test_results_carry_their_value() -> None:
    assert wire.value_of(wire.result(3, Sent("A", 5)), Sent) == Sent("A", 5)
    assert wire.value_of(wire.result(3, None), type(None)) is None


def test_waiting_doubles_and_starts_again_after_a_stable_time() -> None:
    backoff = Backoff()
    waits = [backoff.next_s(1) for _ in range(12)]
    for n, wait in enumerate(waits):
        wanted = min(60.0, 0.2 * 2**n)
        assert 0.75 * wanted <= wait <= 1.25 * wanted
    assert backoff.next_s(301) < 0.3
    backoff.slow()
    assert backoff.next_s(1) > 40


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(lock.InUse):
            lock.take(tmp_path, 0.1)
        lock.wait_free(tmp_path, 0.1)
        assert owner.wait(PATIENCE_S) == -signal.SIGKILL
    os.close(lock.take(tmp_path, 0))


def test_a_free_folder_is_not_waited_for(tmp_path: Path) -> None:
    before = time.monotonic()
    lock.wait_free(tmp_path, 5)
    os.close(lock.take(tmp_path, 0))
    lock.wait_free(tmp_path, 5)
    assert time.monotonic() - before < 1


def test_main_never_imports_the_library_or_its_protobufs() -> None:
    seen = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_the_environment_for_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEONIZE_BOT_TAG", "on")
    monkeypatch.setenv("GOGC", "50")
    monkeypatch.setenv("SSL_CERT_FILE", "/ca.pem")
    made = environment.for_go()
    assert (made["NEONIZE_BOT_TAG"], made["GOGC"], made["SSL_CERT_FILE"]) == ("off", "50", "/ca.pem")
    monkeypatch.delenv("GOGC")
    assert environment.for_go()["GOGC"] == "25"


def test_a_program_without_it_executes_itself_once() -> None:
    code = (
        "import os; from appliance.engine.environment import ensure_environment as e; "
        "e(); print(os.environ['GOGC'], os.environ['NEONIZE_BOT_TAG'])"
    )
    bare = {name: value for name, value in os.environ.items() if name not in {"GOGC", "NEONIZE_BOT_TAG"}}
    seen = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True)
    assert seen.stdout.split() == ["25", "off"]


def test_the_default_engine_takes_many_devices() -> None:
    assert not factory.build(EngineSettings()).single_device


def test_who_waits_for_a_folder_does_not_put_its_name_there(tmp_path: Path) -> None:
    os.close(lock.take(tmp_path, 0))
    (tmp_path / "lock").write_text("4711\n")
    lock.wait_free(tmp_path, 0)
    assert (tmp_path / "lock").read_text() == "4711\n"
