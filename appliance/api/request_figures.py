"""Requests, counted: by the kind of address and the class of the answer, refusals by their code."""

from appliance.model.tally import Spread, Tally

BOUNDS_S = (0.005, 0.025, 0.1, 0.25, 1, 5, 15)
KINDS = ("send", "api", "dashboard")


class RequestFigures:
    """What the frame around all requests notes: `answered` by kind and status class, `refused` by code, and
    per kind the seconds until an answer began. A send waits there for WhatsApp, a poll for its event."""

    def __init__(self) -> None:
        self.answered = Tally()
        self.refused = Tally()
        self.seconds = {kind: Spread(BOUNDS_S) for kind in KINDS}

    def note(self, path: str, status: int, seconds: float, code: str | None) -> None:
        kind = _kind(path)
        self.answered.add(kind, f"{status // 100}xx")
        self.seconds[kind].note(seconds)
        if code is not None:
            self.refused.add(code)


def _kind(path: str) -> str:
    if path.startswith(("/messages/send-", "/api/messages/send-")):
        return "send"
    return "dashboard" if path.startswith(("/dashboard", "/login", "/register")) else "api"
