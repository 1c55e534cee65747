"""A browser without scripts: keeps cookies, sends Origin, fills forms with the token of the last page."""

import re
from typing import Any

import httpx
from patience import PATIENCE_S

_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


class Browser:
    """One visitor of the dashboard. `close` ends its connections."""

    def __init__(self, url: str, **headers: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"Origin": url, **headers}, timeout=PATIENCE_S)
        self.csrf = ""

    def see(self, path: str, **more: Any) -> httpx.Response:
        answer = self.http.get(path, **more)
        if found := _CSRF.search(answer.text):
            self.csrf = found[1]
        return answer

    def fill(self, path: str, **fields: str) -> httpx.Response:
        return self.http.post(path, data={"csrf": self.csrf, **fields})

    def sign_in(self, email: str, password: str) -> None:
        """Sign in and look at the first page, whose token further forms need."""
        self.see("/login")
        answer = self.fill("/login", email=email, password=password)
        assert answer.headers.get("location", "").startswith("/dashboard"), answer.text
        self.see("/dashboard/devices")

    def close(self) -> None:
        self.http.close()
