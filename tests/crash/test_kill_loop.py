"""R1, short: what is promised holds when the gateway is killed in the middle of everything."""

from pathlib import Path

import pytest
from crash.kill_loop import Report, mixed, run
from loopback.patch import PATCH_REASON, can_patch

pytestmark = pytest.mark.skipif(not can_patch(), reason=PATCH_REASON)


def proven(report: Report) -> None:
    print("\n".join(report.lines()))
    assert report.faults == []
    assert len(report.books.answered) > 10
    assert len(report.books.written) > 10
    assert report.books.replays > 0


@pytest.mark.timeout(180)
def test_ten_kills_in_mixed_traffic_keep_every_promise(tmp_path: Path) -> None:
    proven(run(tmp_path, mixed(10, seed=1)))


@pytest.mark.timeout(120)
def test_kills_of_main_alone_lose_nothing_that_came_in(tmp_path: Path) -> None:
    report = run(tmp_path, [False] * 4)
    proven(report)
    assert (report.lost, report.unread) == (0, 0)
