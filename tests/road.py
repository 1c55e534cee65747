"""A real device, linked on the loopback network, and a text each way."""

from typing import Any

from loopback.server import LoopbackServer
from running import Account, until


def text_both_ways(
    net: LoopbackServer, account: Account, device_id: str, ours: str, theirs: str, text: str
) -> None:
    """The text reaches the other person and is told as delivered, and the answer to it comes in."""
    sent = account.send(device_id, theirs, text)
    net.on_phone(theirs, lambda phone: phone.wait_for(text))
    account.message(sent["id"], "delivered")
    answer = f"answer to {text}"
    net.on_phone(theirs, lambda phone: phone.send_text(ours, answer))
    until("answer", lambda: answer in [m["text"] for m in account.every("/messages")])


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
