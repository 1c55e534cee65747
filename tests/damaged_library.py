"""A damaged copy of the WhatsApp library, and what a gateway must do about it."""

from pathlib import Path

from processes import descendants
from running import Account, Running, until


def damage(library: Path) -> None:
    """Replace the file by one in which one bit is another (the old file may have other names)."""
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.unlink()
    library.write_bytes(content)


def refuses_to_connect(gateway: Running, account: Account) -> None:
    """A real device stays away and says why; a sandbox device sends."""
    device_id = account.ok("POST", "/devices", {"name": "real"})["id"]
    account.ok("POST", f"/devices/{device_id}/connect")

    def told() -> bool:
        return bool(account.ok("GET", f"/devices/{device_id}")["reason"] == "library_damaged")

    until("reason", told)
    assert account.ok("GET", f"/devices/{device_id}")["status"] == "CONNECTING"
    assert "engine_library_refused" in gateway.logged()
    assert not descendants(gateway.process.pid), "a helper was started all the same"
    account.message(account.send(account.device(), "628123456789")["id"], "read")
    account.ok("DELETE", f"/devices/{device_id}")
