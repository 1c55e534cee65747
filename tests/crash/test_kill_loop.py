"""R1 and R2, short: what is promised holds when the gateway or a part of it is killed in mixed traffic."""

from pathlib import Path

import pytest
from crash.books import Report
from crash.kill_loop import BACK_S, READY_S, mixed, run
from loopback.patch import PATCH_REASON, can_patch

pytestmark = pytest.mark.skipif(not can_patch(), reason=PATCH_REASON)

SLOWER = 10
"""A busy machine may be that much slower than the promised times: the long form holds them exactly."""


def proven(report: Report) -> None:
    print("\n".join(report.lines()))
    assert report.faults == []
    assert len(report.books.answered) > 10
    assert len(report.books.written) > 10
    assert report.books.replays > 0
    assert report.slowest("group", "main") < SLOWER * READY_S
    assert report.slowest("worker") < SLOWER * BACK_S


@pytest.mark.timeout(600)
def test_ten_kills_in_mixed_traffic_keep_every_promise(tmp_path: Path) -> None:
    proven(run(tmp_path, mixed(10, seed=1)))


@pytest.mark.timeout(600)
def test_kills_of_main_alone_lose_nothing_that_came_in(tmp_path: Path) -> None:
    report = run(tmp_path, ["main", "fork server", "main", "main"])
    proven(report)
    assert (report.lost, report.unread) == ([], [])


@pytest.mark.timeout(600)
def test_orderly_stops_lose_nothing_that_came_in(tmp_path: Path) -> None:
    report = run(tmp_path, ["nobody"] * 5)
    proven(report)
    assert (report.lost, report.unread) == ([], [])
