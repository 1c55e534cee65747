"""R9, short: a clock that is set in the middle of everything."""

from pathlib import Path

import pytest
from crash.clocks import JUMPS, Jump, play

SHORT = [jump for jump in JUMPS if jump.name in {"from 1970 to now", "ten years back at a restart"}]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("jump", SHORT, ids=lambda jump: jump.name)
def test_a_clock_that_is_set_breaks_no_promise(tmp_path: Path, jump: Jump) -> None:
    assert play(tmp_path, jump) == []
