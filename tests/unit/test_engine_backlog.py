"""Holding events until they are acknowledged, and the spool that outlives the worker."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S

from appliance.engine import spool, wire
from appliance.engine.base import ChatNamed
from appliance.engine.worker.backlog import MOST_EVENTS, Backlog, Outlet


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def event(n: int, size: int = 0) -> ChatNamed:
    return ChatNamed(f"{n}@g.us", "x" * size)


def read_all(sock: socket.socket, stop: threading.Event, into: list[wire.Up]) -> None:
    frames = wire.FrameReader()
    while not stop.is_set() and (data := sock.recv(1 << 20)):
        frames.feed(data)
        into.extend(frames.reports())


def test_events_are_numbered_and_forgotten_when_acknowledged(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    backlog = Backlog(Outlet(ends[0]), 7)
    for n in range(3):
        backlog.tell(event(n))
    frames = wire.FrameReader()
    frames.feed(ends[1].recv(1 << 16))
    assert list(frames.reports()) == [wire.Told(7, n + 1, event(n)) for n in range(3)]
    assert not backlog.wait_empty(0)
    for seq in (1, 3, 3, 99):
        backlog.acknowledge(seq)
    assert len(backlog.rest()) == 1
    backlog.acknowledge(2)
    assert backlog.wait_empty(0)
    assert backlog.rest() == []


def test_a_frame_that_follows_comes_in_one_piece_and_is_not_kept(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    backlog, answer = Backlog(Outlet(ends[0]), 7), wire.Failure(3, "not_in_group")
    backlog.tell(event(0), followed_by=wire.frame(answer))
    frames = wire.FrameReader()
    frames.feed(ends[1].recv(1 << 16))
    assert list(frames.reports()) == [wire.Told(7, 1, event(0)), answer]
    backlog.acknowledge(1)
    assert backlog.rest() == []


@pytest.mark.parametrize(("size", "fits"), [(0, MOST_EVENTS), (1 << 20, 8)])
def test_too_much_unacknowledged_blocks_until_there_is_room(
    ends: tuple[socket.socket, socket.socket], size: int, fits: int
) -> None:
    backlog, stop, seen = Backlog(Outlet(ends[0]), 1), threading.Event(), list[wire.Up]()
    reader = threading.Thread(target=read_all, args=(ends[1], stop, seen), daemon=True)
    reader.start()
    for n in range(fits):
        backlog.tell(event(n, size))
    over = threading.Thread(target=backlog.tell, args=(event(fits, size),))
    over.start()
    over.join(0.2)
    assert over.is_alive()
    backlog.acknowledge(1)
    backlog.acknowledge(2)
    over.join(PATIENCE_S)
    assert not over.is_alive()
    stop.set()
    ends[0].shutdown(socket.SHUT_RDWR)
    reader.join(PATIENCE_S)


def test_nobody_waits_when_main_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    outlet = Outlet(ends[0])
    backlog = Backlog(outlet, 1)
    ends[1].close()
    backlog.close()
    for n in range(MOST_EVENTS + 5):
        backlog.tell(event(n))
    assert len(backlog.rest()) == MOST_EVENTS + 5
    assert backlog.wait_empty(10)


def bodies(*numbers: int) -> list[bytes]:
    return [wire.frame(wire.Told(5, n, event(n)))[wire.HEAD.size :] for n in numbers]


def test_a_spool_gives_back_what_was_written(tmp_path: Path) -> None:
    assert spool.read(tmp_path) == []
    spool.Spool(tmp_path).keep(bodies(1, 2))
    assert spool.read(tmp_path) == [wire.Told(5, 1, event(1)), wire.Told(5, 2, event(2))]
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]


def test_a_second_spool_comes_after_the_first(tmp_path: Path) -> None:
    spool.Spool(tmp_path).keep(bodies(1))
    spool.Spool(tmp_path).keep(bodies(2))
    assert [told.seq for told in spool.read(tmp_path)] == [1, 2]


def test_a_worker_replaces_its_own_spool_and_leaves_an_earlier_one(tmp_path: Path) -> None:
    spool.Spool(tmp_path).keep(bodies(1))
    mine = spool.Spool(tmp_path)
    mine.keep(bodies(2, 3))
    mine.keep(bodies(3, 4))
    assert [told.seq for told in spool.read(tmp_path)] == [1, 3, 4]
    mark = spool.mark_of(tmp_path)
    mine.keep(bodies(3, 4))
    assert spool.mark_of(tmp_path) == mark
    mine.keep([])
    assert [told.seq for told in spool.read(tmp_path)] == [1]


def test_a_spool_of_which_nothing_is_left_disappears(tmp_path: Path) -> None:
    mine = spool.Spool(tmp_path)
    mine.keep([])
    mine.keep(bodies(1))
    mine.keep([])
    assert not list(tmp_path.iterdir())


def test_a_torn_spool_gives_what_is_whole(tmp_path: Path) -> None:
    spool.Spool(tmp_path).keep(bodies(1, 2, 3))
    file = spool.spool_file(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    assert [told.seq for told in spool.read(tmp_path)] == [1, 2]
    spoiled = bytearray(whole)
    spoiled[len(whole) // 2] ^= 0xFF
    file.write_bytes(spoiled)
    assert [told.seq for told in spool.read(tmp_path)] == [1]
    spool.Spool(tmp_path).keep(bodies(4))
    assert [told.seq for told in spool.read(tmp_path)] == [1, 4]


def test_only_the_spool_that_was_read_is_deleted(tmp_path: Path) -> None:
    spool.Spool(tmp_path).keep(bodies(1))
    mark = spool.mark_of(tmp_path)
    spool.Spool(tmp_path).keep(bodies(2))
    spool.delete(tmp_path, mark)
    assert len(spool.read(tmp_path)) == 2
    spool.delete(tmp_path, spool.mark_of(tmp_path))
    assert spool.read(tmp_path) == []
    spool.delete(tmp_path, None)
