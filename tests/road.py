"""A real device, linked on the loopback network."""

from typing import Any

from loopback.server import LoopbackServer
from running import Account, until


def link_by_qr(net: LoopbackServer, account: Account, number: str) -> str:
    """A new real device, linked by the QR code that it shows, and connected; its id."""
    device_id = str(account.ok("POST", "/devices", {"name": f"real {number}"})["id"])
    account.ok("POST", f"/devices/{device_id}/connect")

    def shown() -> Any:
        answer = account.http.get(f"/devices/{device_id}/qr", params={"format": "json"})
        return answer.json() if answer.status_code == 200 else None

    net.scan(number, until("QR code", shown)["qr"])
    account.connected(device_id)
    return device_id
