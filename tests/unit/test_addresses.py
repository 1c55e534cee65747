"""Which addresses and URLs are refused, in every form they can be written in."""

from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.gateway.addresses import (
    PUBLIC_ONLY,
    AddressForbidden,
    Policy,
    Reason,
    check,
    permitted,
    special,
    unwrapped,
)
from appliance.gateway.allow_list import AllowEntryInvalid
from appliance.gateway.target_url import Target, check_url

# A busy machine is not a failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SETTING = "webhooks.allow"
EVERYTHING = Policy.parse(["0.0.0.0/0", "::/0", "private", "loopback", "*.example"], SETTING)
LAN = Policy.parse(["private", "loopback"], SETTING)

PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0"),
    *("192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255", "11.0.0.0", "169.253.255.255"),
    *("2001:4860:4860::8888", "2606:4700:4700::1111", "2400:cb00::1", "::ffff:8.8.8.8", "64:ff9b::808:808"),
)

FORBIDDEN = {
    Reason.LOOPBACK: [
        "127.0.0.1", "127.254.254.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::7f00:1",
    ],
    Reason.PRIVATE: [
        *("10.0.0.0", "10.254.0.0", "10.255.255.255"),
        *("172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.10.65"),
        *("fc00::1", "fdee::1", "fdff:ffff::1", "::ffff:10.0.0.1", "::ffff:c0a8:a41", "64:ff9b::c0a8:0"),
    ],
    Reason.LINK_LOCAL: [
        "169.254.0.1", "169.254.255.255", "fe80::1", "febf:ffff::1", "fe80::1%eth0", "::ffff:169.254.1.1",
    ],
    Reason.SHARED: ["100.64.0.0", "100.100.0.0", "100.127.255.255", "::ffff:100.64.0.1"],
    Reason.BENCHMARKING: ["198.18.0.0", "198.19.255.255", "2001:2::1"],
    Reason.DOCUMENTATION: ["192.0.2.255", "198.51.100.65", "203.0.113.6", "2001:db8::1", "3fff::dead:beef"],
    Reason.RESERVED: [
        *("192.0.0.0", "192.0.0.171", "240.240.240.240", "255.255.255.254", "100::1", "5f00::1", "fec0::1"),
        *("2001:10::1", "2001:20::1", "2001:1ff::1"),
        *("::127.0.0.1", "::ffff:0:127.0.0.1", "4000::1", "e000::1"),
    ],
}  # fmt: skip

NEVER = {
    Reason.METADATA: [
        *("169.254.169.254", "::ffff:169.254.169.254"),
        *("64:ff9b::a9fe:a9fe", "fd00:ec2::254", "168.63.129.16"),
        *("::ffff:168.63.129.16", "169.254.170.2", "169.254.170.23", "fd00:ec2::23", "100.100.100.200"),
        *("192.0.0.192", "fd20:ce::254", "fd00:ec2::254%eth0"),
    ],
    Reason.MULTICAST: [
        "224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1", "::ffff:224.1.2.3", "64:ff9b::e001:203",
    ],
    Reason.BROADCAST: ["255.255.255.255", "::ffff:255.255.255.255"],
    Reason.UNSPECIFIED: ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "64:ff9b::"],
    Reason.TUNNEL: [
        *("2002:c000:204::1", "2002:c0a8:1::1", "2002:7f00:1::1"),
        *("2002:808:808::1", "2001::1", "192.88.99.3"),
        *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "64:ff9b:1::1", "64:ff9b:1:ffff::a00:1"),
        *("2606:4700::5efe:127.0.0.1", "2606:4700::200:5efe:10.0.0.1"),
    ],
}  # fmt: skip


def refusal(
    address: str, policy: Policy = PUBLIC_ONLY, port: int = 443, host: str | None = None
) -> AddressForbidden:
    with pytest.raises(AddressForbidden) as caught:
        check(address, port, policy, host)
    return caught.value


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    check(address, 443, PUBLIC_ONLY)


@pytest.mark.parametrize(("reason", "address"), [(r, a) for r, forms in FORBIDDEN.items() for a in forms])
def test_other_addresses_are_forbidden_unless_a_setting_allows_them(reason: Reason, address: str) -> None:
    assert refusal(address).reason is reason
    assert refusal(address).setting is None
    check(address, 443, EVERYTHING)


@pytest.mark.parametrize(("reason", "address"), [(r, a) for r, forms in NEVER.items() for a in forms])
def test_some_addresses_are_forbidden_by_any_setting(reason: Reason, address: str) -> None:
    assert refusal(address).reason is reason
    assert refusal(address, EVERYTHING, host="inside.example").reason is reason
    assert refusal(address, EVERYTHING).setting is None


@unhurried
@given(st.ip_addresses())
def test_nothing_public_is_called_private_by_the_standard_library(address: object) -> None:
    plain = unwrapped(ip_address(str(address)))
    if special(plain) is None:
        assert not plain.is_private
        assert not plain.is_multicast
        assert not plain.is_reserved


@pytest.mark.parametrize(
    ("address", "setting"),
    [
        ("192.168.1.5", 'webhooks.allow = ["private"]'),
        ("fd12::1", 'webhooks.allow = ["private"]'),
        ("127.0.0.1", 'webhooks.allow = ["loopback"]'),
        ("::ffff:127.0.0.1", 'webhooks.allow = ["loopback"]'),
        ("100.64.0.7", 'webhooks.allow = ["100.64.0.7"]'),
        ("fe80::1", 'webhooks.allow = ["fe80::1"]'),
    ],
)
def test_a_refusal_names_the_setting_and_the_setting_helps(address: str, setting: str) -> None:
    error = refusal(address, Policy(setting=SETTING))
    assert error.setting == setting
    assert setting in str(error)
    check(address, 443, Policy.parse([setting.split('"')[1]]))


def test_a_refusal_does_not_tell_what_a_name_resolved_to() -> None:
    error = refusal("100.64.0.7", Policy(setting=SETTING), host="Inside.Example.")
    assert error.setting == 'webhooks.allow = ["inside.example"]'
    assert "100.64" not in str(error)


@pytest.mark.parametrize(
    ("entry", "address", "port", "host", "allowed"),
    [
        ("private", "10.1.2.3", 80, None, True),
        ("private", "127.0.0.1", 80, None, False),
        ("private", "100.64.0.1", 80, None, False),
        ("private", "169.254.1.1", 80, None, False),
        ("private:8080", "10.1.2.3", 8080, None, True),
        ("private:8080", "10.1.2.3", 80, None, False),
        ("loopback", "127.9.9.9", 80, None, True),
        ("loopback", "::1", 80, None, True),
        ("loopback", "10.0.0.1", 80, None, False),
        (" LOOPBACK ", "127.0.0.1", 80, None, True),
        ("10.0.0.0/8", "10.9.9.9", 80, None, True),
        ("10.0.0.0/8", "::ffff:10.9.9.9", 80, None, True),
        ("10.0.0.0/8", "192.168.0.1", 80, None, False),
        ("10.0.0.0/8:8080", "10.9.9.9", 8080, None, True),
        ("10.0.0.0/8:8080", "10.9.9.9", 80, None, False),
        ("192.168.1.5:8080", "192.168.1.5", 8080, None, True),
        ("192.168.1.5:8080", "192.168.1.5", 8081, None, False),
        ("192.168.1.5:8080", "192.168.1.6", 8080, None, False),
        ("fd00::/8", "fd12::1", 80, None, True),
        ("[fd00::/8]:8080", "fd12::1", 8080, None, True),
        ("[fd12::1]:8080", "fd12::1", 80, None, False),
        ("[fd12::1]", "fd12::1", 80, None, True),
        ("fd12::1", "fd12::2", 80, None, False),
        ("nas.example", "192.168.1.5", 80, "nas.example", True),
        ("nas.example", "192.168.1.5", 80, "NAS.example.", True),
        ("nas.example", "192.168.1.5", 80, "other.example", False),
        ("nas.example", "192.168.1.5", 80, "x.nas.example", False),
        ("nas.example:8080", "192.168.1.5", 8080, "nas.example", True),
        ("nas.example:8080", "192.168.1.5", 80, "nas.example", False),
        ("*.lan", "192.168.1.5", 80, "nas.lan", True),
        ("*.lan", "192.168.1.5", 80, "a.b.lan", True),
        ("*.lan", "192.168.1.5", 80, "lan", False),
        ("*.lan", "192.168.1.5", 80, "evil-lan", False),
        ("*.lan", "192.168.1.5", 80, None, False),
        ("nas_1.lan", "192.168.1.5", 80, "nas_1.lan", True),
    ],
)
def test_the_allow_list(entry: str, address: str, port: int, host: str | None, allowed: bool) -> None:
    policy = Policy.parse([entry])
    if allowed:
        check(address, port, policy, host)
    else:
        refusal(address, policy, port, host)


@pytest.mark.parametrize(
    "entry",
    [
        *("", " ", "10.0.0.0/33", "10.0.0.1/8"),
        *("300.1.1.1", "127.1", "0x7f.1", "2130706433", "::ffff:10.0.0.1"),
        *("host:0", "host:65536", "host:", "host:http"),
        *("[fd00::1", "[fd00::1]8080", "[10.0.0.1]:80", "[host]:80"),
        *("http://host", "host/path", "a..b", "-host", "host-"),
        *("*", "*.", "a.*.b", "user@host", "host name", "fd00:::1"),
    ],
)  # fmt: skip
def test_an_entry_that_says_nothing_is_refused(entry: str) -> None:
    with pytest.raises(AllowEntryInvalid):
        Policy.parse([entry])


@pytest.mark.parametrize("port", [22, 25, 6667, 10080])
def test_ports_of_other_protocols(port: int) -> None:
    assert refusal("8.8.8.8", port=port).reason is Reason.PORT
    assert refusal("10.0.0.1", LAN, port).reason is Reason.PORT
    assert refusal("8.8.8.8", Policy(setting=SETTING), port).setting == f'webhooks.allow = ["8.8.8.8:{port}"]'
    check("8.8.8.8", port, Policy.parse([f"8.8.8.8:{port}"]))
    check("10.0.0.1", port, Policy.parse([f"private:{port}"]))


def test_the_setting_of_a_port_on_ipv6_can_be_pasted() -> None:
    setting = refusal("2606:4700::1", Policy(setting=SETTING), 25).setting
    assert setting == 'webhooks.allow = ["[2606:4700::1]:25"]'
    check("2606:4700::1", 25, Policy.parse(["[2606:4700::1]:25"]))


@pytest.mark.parametrize(
    ("own", "address", "host", "refused"),
    [
        ("127.0.0.1", "127.0.0.1", None, True),
        ("127.0.0.1", "::1", None, True),
        ("127.0.0.1", "::ffff:127.0.0.1", None, True),
        ("localhost", "127.0.0.1", None, True),
        ("0.0.0.0", "127.0.0.1", None, True),
        ("::", "127.0.0.1", None, True),
        ("", "127.0.0.1", None, True),
        ("0.0.0.0", "8.8.8.8", None, False),
        ("192.168.1.5", "192.168.1.5", None, True),
        ("192.168.1.5", "192.168.1.6", None, False),
        ("gateway.example", "8.8.8.8", "Gateway.example.", True),
        ("gateway.example", "8.8.8.8", "other.example", False),
    ],
)
def test_the_gateway_itself_is_never_allowed(own: str, address: str, host: str | None, refused: bool) -> None:
    policy = EVERYTHING.with_own(own, 3000)
    if refused:
        error = refusal(address, policy, 3000, host)
        assert error.reason is Reason.OWN_ADDRESS
        assert error.setting is None
    else:
        check(address, 3000, policy, host)
    check(address, 3001, policy, host)


def test_of_several_addresses_the_allowed_ones_are_used() -> None:
    assert permitted(["127.0.0.1", "8.8.8.8", "10.0.0.1"], 80, PUBLIC_ONLY) == ["8.8.8.8"]
    assert permitted([], 80, PUBLIC_ONLY) == []
    with pytest.raises(AddressForbidden) as caught:
        permitted(["127.0.0.1", "10.0.0.1"], 80, PUBLIC_ONLY)
    assert caught.value.reason is Reason.LOOPBACK


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://example.com", Target("http", "example.com", 80)),
        ("HTTPS://Example.COM./hook?x=1#y", Target("https", "example.com", 443)),
        ("https://example.com:8443/", Target("https", "example.com", 8443)),
        ("http://8.8.8.8/", Target("http", "8.8.8.8", 80)),
        ("http://[2606:4700::1]:81/", Target("http", "2606:4700::1", 81)),
        ("http://bücher.example/", Target("http", "xn--bcher-kva.example", 80)),
        ("http://a_b.example/", Target("http", "a_b.example", 80)),
        ("http://1.2.3.4.example/", Target("http", "1.2.3.4.example", 80)),
        ("http://example.com/@user", Target("http", "example.com", 80)),
    ],
)
def test_a_good_url(url: str, target: Target) -> None:
    assert check_url(url, PUBLIC_ONLY) == target


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1/", Reason.LOOPBACK),
        ("http://[::1]/", Reason.LOOPBACK),
        ("http://[::ffff:127.0.0.1]/", Reason.LOOPBACK),
        ("http://[::ffff:7f00:1]/", Reason.LOOPBACK),
        ("http://localhost/", Reason.LOOPBACK),
        ("http://localhost./", Reason.LOOPBACK),
        ("http://LOCALHOST:8080/", Reason.LOOPBACK),
        ("http://ｌocalhost/", Reason.LOOPBACK),
        ("http://x.localhost/", Reason.LOOPBACK),
        ("http://192.168.1.1/", Reason.PRIVATE),
        ("http://169.254.169.254/latest/meta-data", Reason.METADATA),
        ("http://[fd00:ec2::254]/", Reason.METADATA),
        ("http://0/", Reason.NOTATION),
        ("http://127.1/", Reason.NOTATION),
        ("http://127.0.1/", Reason.NOTATION),
        ("http://0x7f.1/", Reason.NOTATION),
        ("http://0x7f000001/", Reason.NOTATION),
        ("http://0X7F.0.0.1/", Reason.NOTATION),
        ("http://127.0.0.0x1/", Reason.NOTATION),
        ("http://2130706433/", Reason.NOTATION),
        ("http://017700000001/", Reason.NOTATION),
        ("http://0177.0.0.1/", Reason.NOTATION),
        ("http://127.0.0.01/", Reason.NOTATION),
        ("http://127.0.0.1./", Reason.NOTATION),
        ("http://127.0.0.1../", Reason.MALFORMED),
        ("http://8.8.8.8.8/", Reason.NOTATION),
        ("http://256.1.1.1/", Reason.NOTATION),
        ("http://example.123/", Reason.NOTATION),
        ("http://①②⑦.⓪.⓪.①/", Reason.NOTATION),
        ("http://１２７.0.0.1/", Reason.NOTATION),
        ("http://127。0。0。1/", Reason.NOTATION),
        ("http://[fe80::1%25eth0]/", Reason.NOTATION),
        ("http://user@example.com/", Reason.USERINFO),
        ("http://user:pass@example.com/", Reason.USERINFO),
        ("http://example.com@127.0.0.1/", Reason.USERINFO),
        ("http://@example.com/", Reason.USERINFO),
        ("ftp://example.com/", Reason.SCHEME),
        ("file:///etc/passwd", Reason.SCHEME),
        ("gopher://example.com/", Reason.SCHEME),
        ("ws://example.com/", Reason.SCHEME),
        ("//example.com/", Reason.SCHEME),
        ("example.com", Reason.SCHEME),
        ("", Reason.SCHEME),
        ("http://example.com:0/", Reason.PORT),
        ("http://example.com:65536/", Reason.PORT),
        ("http://example.com:x/", Reason.PORT),
        ("http://8.8.8.8:25/", Reason.PORT),
        ("http://", Reason.MALFORMED),
        ("http:///path", Reason.MALFORMED),
        ("http://./", Reason.MALFORMED),
        ("http://a..b/", Reason.MALFORMED),
        ("http://127%2e0.0.1/", Reason.MALFORMED),
        ("http://%6cocalhost/", Reason.MALFORMED),
        ("http://example.com\\@127.0.0.1/", Reason.MALFORMED),
        ("http://exa mple.com/", Reason.MALFORMED),
        ("http://example.com/\n", Reason.MALFORMED),
        ("\thttp://127.0.0.1/", Reason.MALFORMED),
        ("http://[::1/", Reason.MALFORMED),
        ("http://[v1.x]/", Reason.MALFORMED),
        ("http://[localhost]/", Reason.MALFORMED),
        ("http://exa℀mple.com/", Reason.MALFORMED),
        ("http://" + "é" * 80 + ".example/", Reason.MALFORMED),
    ],
)
def test_a_bad_url(url: str, reason: Reason) -> None:
    with pytest.raises(AddressForbidden) as caught:
        check_url(url, PUBLIC_ONLY)
    assert caught.value.reason is reason


def test_a_url_within_the_policy() -> None:
    assert check_url("http://localhost:8080/", LAN) == Target("http", "localhost", 8080)
    with pytest.raises(AddressForbidden) as caught:
        check_url("http://localhost:3000/", LAN.with_own("127.0.0.1", 3000))
    assert caught.value.reason is Reason.OWN_ADDRESS


@unhurried
@given(st.text(max_size=30) | st.text("0123456789abcdefx.:[]%/@-", max_size=24).map("http://{}".format))
def test_no_url_breaks_the_reader(url: str) -> None:
    try:
        target = check_url(url, PUBLIC_ONLY)
    except AddressForbidden:
        return
    assert target.host
    assert 0 < target.port < 65536
