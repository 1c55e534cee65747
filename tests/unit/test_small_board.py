"""The settings for a small board are settings of this version."""

from pathlib import Path

from appliance.config import Config, load

FILE = Path(__file__).resolve().parents[2] / "packaging/config.pi.toml"


def test_the_settings_for_a_small_board_are_read_and_spare_the_card() -> None:
    board, usual = load(FILE, {}, []), Config()
    assert board.store.cache_mib < usual.store.cache_mib
    assert board.retention.events_days < usual.retention.events_days
    assert board.media.keep_days < usual.media.keep_days
    assert board.backup.keep < usual.backup.keep
    assert board.retention.max_mib > 0
