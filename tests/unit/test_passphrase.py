"""Where a passphrase comes from, and what is said of a file that everybody can read."""

import os
from pathlib import Path

import pytest

from appliance.operations import passphrase

PHRASE = "correct horse battery"


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_file_that_everybody_can_read_is_used_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int, warned: bool
) -> None:
    file = tmp_path / "my phrase"
    file.write_text(f"{PHRASE}\n")
    file.chmod(mode)
    assert passphrase.given(file, None, new=True) == PHRASE
    told = f"wa-gateway: everybody on this machine can read {file}: chmod o-r '{file}'\n"
    assert capsys.readouterr().err == (told if warned else "")


def test_a_pipe_is_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.write(writer, PHRASE.encode())
    os.close(writer)
    assert passphrase.given(Path(f"/dev/fd/{reader}"), None, new=True) == PHRASE
    os.close(reader)
    assert capsys.readouterr().err == ""
