"""Proxy addresses for the way to WhatsApp, as people write them."""

from urllib.parse import urlsplit

from appliance.model.errors import Invalid

SCHEMES = ("http", "https", "socks5")


def check_proxy(url: str) -> str:
    """The URL as it was given. Raises Invalid unless it is `http`, `https` or `socks5` with a host and a
    port."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in SCHEMES and parts.hostname is not None and parts.port is not None
    except ValueError:
        usable = False
    if not usable:
        raise Invalid(
            "Not a proxy address.",
            field="proxy",
            suggestion="http://user:password@proxy.example:3128 or socks5://…",
        )
    return url
