"""Folders for what nobody keeps: what a killed command left goes at the next, what another holds stays."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S

from appliance import data_dir
from appliance.scratch import PREFIX, clear, scratch

HOLDER = """
import sys
from pathlib import Path
from appliance.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "gateway.db").write_text("not sealed")
    print(folder, flush=True)
    sys.stdin.read()
"""
MAKER = """
import sys
from pathlib import Path
from appliance.scratch import scratch
for _ in range(200):
    with scratch(Path(sys.argv[1])) as folder:
        (folder / "x").touch()
        assert (folder / "x").exists()
"""


class Holder:
    """A command that works in its folder until it is let go, or killed."""

    def __init__(self, parent: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.folder = Path(self.process.stdout.readline().strip())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    made = Holder(tmp_path)
    yield made
    made.kill()


def begin_another(parent: Path) -> None:
    with scratch(parent) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700


def lock(parent: Path) -> None:
    data_dir.lock(parent).close()


@pytest.mark.parametrize("come", [begin_another, lock, clear])
def test_whoever_comes_next_clears_what_a_killed_command_left(
    holder: Holder, tmp_path: Path, come: Callable[[Path], None]
) -> None:
    come(tmp_path)
    assert (holder.folder / "gateway.db").exists(), "it is held"
    holder.kill()
    assert (holder.folder / "gateway.db").exists()
    come(tmp_path)
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_a_folder_that_is_let_go_is_gone(holder: Holder) -> None:
    holder.process.communicate("")
    assert not holder.folder.exists()


def test_what_only_looks_so_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "mine")
    (tmp_path / f"{PREFIX}file").touch()
    clear(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_folders_are_cleared_while_others_are_made(tmp_path: Path) -> None:
    """Who makes one while somebody clears gets a folder that is there, and keeps it."""
    makers = [subprocess.Popen([sys.executable, "-c", MAKER, tmp_path]) for _ in range(3)]
    assert [maker.wait(PATIENCE_S) for maker in makers] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []
