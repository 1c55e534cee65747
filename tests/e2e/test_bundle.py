"""The bundle does everything that a checkout does: the whole main road, on sandbox devices and on the real
library, with its fork server and its workers."""

import asyncio
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundle import BUILD_S, built
from damaged_library import damage, refuses_to_connect
from engine_harness import ANN, BEA, bench
from hook import Hook, receiving
from loopback.patch import PATCH_REASON, can_patch
from loopback.server import LoopbackServer
from patience import PATIENCE_S
from processes import arguments, descendants, program
from road import link_by_qr
from running import Account, Running, until

from appliance import __version__
from appliance.engine.base import OutgoingMessage
from appliance.engine.launcher import ExecLauncher

OURS, THEIRS = "628111000111", "628222000222"

pytestmark = pytest.mark.timeout(BUILD_S + 120)


@pytest.fixture(scope="session")
def executable() -> Path:
    return built()


@pytest.fixture
def begin(executable: Path, start: Callable[..., Running]) -> Callable[..., Running]:
    """Starts the bundle as `start` starts the checkout."""

    def begin(**options: Any) -> Running:
        return start(program=(str(executable),), **options)

    return begin


@pytest.fixture
def hook() -> Iterator[Hook]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def net(tmp_path: Path) -> Iterator[LoopbackServer]:
    if not can_patch():
        pytest.skip(PATCH_REASON)
    with LoopbackServer(tmp_path / "net") as network:
        network.add_account(OURS, "Ours")
        network.add_account(THEIRS, "Theirs")
        yield network


def ran(executable: Path, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [executable, *words], input=typed, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_version_and_configuration_check(executable: Path, tmp_path: Path) -> None:
    assert ran(executable, "version").stdout == f"wa-gateway {__version__}\n"
    file = tmp_path / "config.toml"
    file.write_text("[server]\nport = 8081\n")
    good = ran(executable, "check-config", "--config", str(file))
    assert (good.returncode, good.stderr) == (0, "")
    file.write_text("[server]\nprot = 8081\n")
    bad = ran(executable, "check-config", "--config", str(file))
    assert bad.returncode == 2
    assert "prot" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_the_tarball_holds_the_bundle(executable: Path) -> None:
    name = f"wa-gateway-{__version__}-linux-{platform.machine()}"
    with tarfile.open(executable.parents[1] / f"{name}.tar.gz") as tarball:
        names = tarball.getnames()
        assert {n.split("/")[0] for n in names} == {name}
        beside = {"LICENSE", "VERSION", "config.example.toml", "wa-gateway.service", "sbom.cdx.json"}
        beside |= {"config.pi.toml", "install.sh", "upgrade.sh", "health.sh", "licences/README.txt"}
        beside |= {"monitoring/alerts.yaml", "monitoring/grafana-dashboard.json"}
        assert {f"{name}/{file}" for file in beside} <= set(names)
        assert tarball.getmember(f"{name}/wa-gateway").mode & 0o111
        assert not [m for m in tarball.getmembers() if m.name.startswith("/") or m.uid or m.gid]
        sources = [n for n in names if n.endswith((".py", ".pyi"))]
        assert not [n for n in sources if "/web/docs/samples/" not in n]


def test_the_sum_beside_the_tarball_is_right(executable: Path) -> None:
    subprocess.run(
        ["sha256sum", "--check", "--quiet", "--ignore-missing", "SHA256SUMS"],
        cwd=executable.parents[1],
        check=True,
    )


@pytest.fixture(scope="module")
def parts(executable: Path) -> list[dict[str, Any]]:
    """What the bundle says that it is made of."""
    document = json.loads((executable.parent / "sbom.cdx.json").read_text("utf-8"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["version"] == __version__
    components: list[dict[str, Any]] = document["components"]
    references = [component["bom-ref"] for component in components]
    assert sorted(references) == document["dependencies"][0]["dependsOn"]
    assert len(set(references)) == len(references)
    return components


def test_the_list_of_parts_names_all_kinds(parts: list[dict[str, Any]]) -> None:
    names = {part["name"] for part in parts}
    assert names >= {"litestar", "neonize", "pyinstaller", "go.mau.fi/whatsmeow", "std", "htmx.org"}
    assert any(name.startswith("libssl") for name in names)
    assert any(name.startswith("libpython3") for name in names)
    assert not names & {"pytest", "mypy", "playwright", "wa-gateway"}
    (litestar,) = (part for part in parts if part["name"] == "litestar")
    assert litestar["version"] == importlib.metadata.version("litestar")
    assert litestar["licenses"] == [{"license": {"id": "MIT"}}]
    assert litestar["properties"][0]["name"] == "locked:sha256"
    (cryptography,) = (part for part in parts if part["name"] == "cryptography")
    assert "openssl" in {inside["name"] for inside in cryptography["components"]}


def test_every_binary_file_has_a_part_and_its_sum(executable: Path, parts: list[dict[str, Any]]) -> None:
    home = executable.parent
    listed = {
        file["name"]: file["hashes"][0]["content"]
        for part in parts
        for file in part.get("components", ())
        if file["type"] == "file"
    }
    binaries = {str(p.relative_to(home)) for p in home.rglob("*") if ".so" in p.suffixes and p.is_file()}
    assert binaries
    assert not binaries - listed.keys()
    web = {name.replace("web/", "_internal/web/", 1) for name in listed if name.startswith("web/")}
    assert all((home / name).is_file() for name in web)
    for name in binaries:
        assert hashlib.sha256((home / name).read_bytes()).hexdigest() == listed[name], name


def test_every_part_has_a_licence_and_its_text(executable: Path, parts: list[dict[str, Any]]) -> None:
    home = executable.parent / "licences"
    told = (home / "README.txt").read_text("utf-8")
    for part in parts:
        (licence,) = part["licenses"]
        words = licence.get("expression") or licence["license"]["id"]
        assert f"  {part['name']} {part['version']}: {words}\n" in told
        texts = [text for kind in home.iterdir() for text in kind.glob(f"{part['name']}/*")]
        assert words == "0BSD" or any(text.stat().st_size > 500 for text in texts), part["name"]
    assert f"tag v{__version__}" in told


def test_a_damaged_library_is_not_loaded(
    executable: Path, start: Callable[..., Running], tmp_path: Path
) -> None:
    copy = tmp_path / "wa-gateway"
    shutil.copytree(executable.parent, copy, copy_function=os.link)
    (library,) = copy.glob("_internal/neonize/*.so")
    damage(library)
    gateway = start(program=(str(copy / "wa-gateway"),))
    refuses_to_connect(gateway, gateway.account())
    assert gateway.stop() == 0


def test_the_sandbox_road(begin: Callable[..., Running], hook: Hook, executable: Path) -> None:
    gateway = begin(settings={"webhooks.allow": ["loopback"]})
    made = ran(
        executable,
        *("user", "create", "--data-dir", str(gateway.data), "--email", "a@example.test"),
        *("--password-stdin", "--admin"),
        typed="a long password\n",
    )
    assert made.returncode == 0, made.stderr
    account = Account(gateway.url, made.stdout.strip())
    account.ok("POST", "/webhooks", {"url": hook.url})
    device_id = account.device()
    sent = account.send(device_id, "628123456789")
    account.message(sent["id"], "read")
    account.ok("POST", f"/devices/{device_id}/sandbox/receive", {"text": "Halo dari sandbox"})
    assert hook.text("Halo dari sandbox")["remoteJid"] == "999000000010@s.whatsapp.net"
    assert "x-webhook-signature" in hook.posts[0].headers
    received = account.ok("POST", f"/devices/{device_id}/sandbox/receive", {"kind": "image"})
    until("picture", lambda: account.http.get(f"/messages/{received['id']}/media").is_success)
    account.http.close()
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.logged()


@pytest.mark.parametrize("path", ["/login", "/register", "/docs", "/api/docs"])
def test_pages_for_people(bundled: Running, path: str) -> None:
    page = httpx.get(bundled.url + path)
    assert page.status_code == 200
    assert "content-security-policy" in page.headers
    assert "<html" in page.text


@pytest.fixture(scope="module")
def bundled(executable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One bundle for the tests that only look."""
    gateway = Running(tmp_path_factory.mktemp("bundled") / "data", program=(str(executable),)).start()
    yield gateway
    assert gateway.stop() == 0


def test_a_qr_code_as_a_picture(bundled: Running) -> None:
    account = bundled.account()
    device_id = account.ok("POST", "/devices", {"name": "x", "sandbox": True})["id"]
    account.ok("POST", f"/devices/{device_id}/connect")
    until("QR code", lambda: account.http.get(f"/devices/{device_id}/qr").is_success)
    picture = account.http.get(f"/devices/{device_id}/qr", params={"format": "png"})
    assert picture.content.startswith(b"\x89PNG")
    account.http.close()


def leads_to(net: LoopbackServer) -> dict[str, Any]:
    """How a gateway is started so that it finds the network."""
    return {
        "settings": {"engine.proxy": net.proxy_url, "webhooks.allow": ["loopback"]},
        "environment": net.client_env(),
    }


def both_ways(net: LoopbackServer, account: Account, device_id: str, hook: Hook, mark: str) -> None:
    """A text to the other person and one back, told by webhook."""
    sent = account.send(device_id, THEIRS, f"to {mark}")
    net.on_phone(THEIRS, lambda phone: phone.wait_for(f"to {mark}"))
    account.message(sent["id"], "delivered")
    net.on_phone(THEIRS, lambda phone: phone.send_text(OURS, f"from {mark}"))
    assert hook.text(f"from {mark}")["remoteJid"] == f"{THEIRS}@s.whatsapp.net"


def goes_before(pid: int, other: int) -> bool:
    """Whether the kernel would rather end that process, should memory run out; 1000 is the most there is."""
    mine, others = (int(Path(f"/proc/{each}/oom_score_adj").read_text()) for each in (pid, other))
    return mine == min(1000, others + 500)


def test_the_real_road_over_a_kill_and_a_restart(
    net: LoopbackServer, begin: Callable[..., Running], hook: Hook, executable: Path
) -> None:
    gateway = begin(**leads_to(net))
    account = gateway.account()
    account.ok("POST", "/webhooks", {"url": hook.url})
    device_id = link_by_qr(net, account, OURS)
    helpers = descendants(gateway.process.pid)
    assert [program(pid) for pid in helpers] == [executable] * 2
    assert all("fork-server" in arguments(pid) for pid in helpers), "the worker was not forked"
    assert all(goes_before(pid, gateway.process.pid) for pid in helpers)
    both_ways(net, account, device_id, hook, "first")

    gateway.kill(group=False)
    until("end of its helpers", lambda: not any(Path(f"/proc/{pid}").exists() for pid in helpers))
    gateway.start()
    account.connected(device_id)
    both_ways(net, account, device_id, hook, "after the kill")

    assert gateway.stop() == 0
    net.on_phone(THEIRS, lambda phone: phone.send_text(OURS, "while you were out"))
    gateway.start()
    account.connected(device_id)
    hook.text("while you were out")
    assert not net.ledger.repeated()
    assert gateway.stop() == 0
    assert not descendants(gateway.process.pid)
    assert "Traceback" not in gateway.logged()


def test_everything_in_one_process(net: LoopbackServer, begin: Callable[..., Running], hook: Hook) -> None:
    options = leads_to(net)
    gateway = begin(**options | {"settings": options["settings"] | {"engine.isolation": "inline"}})
    account = gateway.account()
    account.ok("POST", "/webhooks", {"url": hook.url})
    device_id = link_by_qr(net, account, OURS)
    assert not descendants(gateway.process.pid)
    both_ways(net, account, device_id, hook, "inline")
    assert gateway.stop() == 0


@pytest.mark.skipif(not can_patch(), reason=PATCH_REASON)
async def test_a_worker_executed_without_the_fork_server(executable: Path, tmp_path: Path) -> None:
    async with bench(tmp_path, ExecLauncher([str(executable)])) as b:
        session = await b.link("d1", ANN)
        (worker,) = (pid for pid in descendants(os.getpid()) if "session-worker" in arguments(pid))
        assert program(worker) == executable
        b.net.add_account(BEA)
        await session.send(OutgoingMessage(f"{BEA}@s.whatsapp.net", "text", "hello"))
        await asyncio.to_thread(b.net.on_phone, BEA, lambda phone: phone.wait_for("hello"))
