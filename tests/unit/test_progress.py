"""Progress of long commands: a line that is rewritten on a terminal, one every ten per cent elsewhere."""

import io

import pytest

from appliance.operations.progress import Progress

MIB = 1024 * 1024


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(out: io.StringIO, total: int, steps: int) -> list[str]:
    progress = Progress("Writing", total, out)
    for _ in range(steps):
        progress.advance(MIB)
    progress.finish()
    return out.getvalue().removesuffix("\n").split("\n")


def test_a_log_gets_a_line_every_ten_per_cent() -> None:
    lines = shown(io.StringIO(), 200 * MIB, 200)
    assert lines[0] == "Writing …"
    assert lines[1] == "Writing: 10 % 20.0 MiB"
    assert lines[-1] == "Writing: 100 % 200.0 MiB"
    assert len(lines) == 11


def test_a_large_step_is_one_line() -> None:
    out = io.StringIO()
    Progress("Writing", 10 * MIB, out).advance(8 * MIB)
    assert out.getvalue().splitlines() == ["Writing …", "Writing: 80 % 8.0 MiB"]


def test_a_terminal_gets_one_line_a_few_times_a_second_and_its_end() -> None:
    [line] = shown(Terminal(), 300 * MIB, 200)
    states = line.split("\r\x1b[K")[1:]
    assert states[0] == "Writing: 0 % 1.0 MiB"
    assert states[-1] == "Writing: 100 % 200.0 MiB", "less came than was thought"
    assert 2 <= len(states) < 20


@pytest.mark.parametrize("out", [io.StringIO, Terminal])
def test_of_what_is_over_at_once_nothing_is_told(out: type[io.StringIO]) -> None:
    assert shown(out(), 4 * MIB, 4) == [""]
    assert shown(out(), 9 * MIB, 9) != [""]


def test_what_has_no_known_end_has_no_share() -> None:
    assert shown(io.StringIO(), 0, 3) == ["Writing …"]
    assert shown(Terminal(), 0, 3)[0].endswith("Writing: 3.0 MiB")
