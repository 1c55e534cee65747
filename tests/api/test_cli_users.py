"""`wa-gateway user` beside the running gateway and without one."""

import os
import subprocess
import tempfile
from pathlib import Path

import httpx
import pytest
from browser import Browser
from running import PROGRAM, Running

PASSWORD = "a long password"
LIMIT_S = 90


def cli(data: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments, f"--data-dir={data}"],
        input=typed,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def done(data: Path, *arguments: str, typed: str = "") -> str:
    ran = cli(data, *arguments, typed=typed)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refused(data: Path, *arguments: str, typed: str = "") -> str:
    ran = cli(data, *arguments, typed=typed)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "Traceback" not in ran.stderr
    return ran.stderr


def create(data: Path, email: str, *more: str) -> str:
    """A new account's API key."""
    return done(data, "user", "create", f"--email={email}", "--password-stdin", *more, typed=PASSWORD).strip()


def is_let_in(url: str, email: str, password: str) -> bool:
    """Whether a browser can sign in with that."""
    browser = Browser(url)
    try:
        return signed_in(browser, email, password)
    finally:
        browser.close()


def signed_in(browser: Browser, email: str, password: str) -> bool:
    browser.see("/login")
    browser.fill("/login", email=email, password=password)
    return is_in(browser)


def is_in(browser: Browser) -> bool:
    return browser.http.get("/dashboard", follow_redirects=False).status_code == 200


def me(url: str, key: str) -> int:
    return httpx.get(f"{url}/auth/me", headers={"X-API-Key": key}, verify=False).status_code


def test_accounts_beside_the_running_gateway(shared: Running) -> None:
    shared.account(admin=True)
    email = "beside@example.test"
    key = create(shared.data, email, "--name=Beside")
    assert me(shared.url, key) == 200
    assert any(line.startswith(email) and "active" in line for line in listed(shared.data))

    browser = Browser(shared.url)
    assert signed_in(browser, email, PASSWORD)
    other = "quite another one"
    said = done(shared.data, "user", "password", email, "--password-stdin", typed=other)
    assert "signed out: 1" in said
    assert not is_in(browser)
    browser.close()
    assert not is_let_in(shared.url, email, PASSWORD)
    assert is_let_in(shared.url, email, other)

    done(shared.data, "user", "disable", email)
    assert me(shared.url, key) == 401
    assert any(line.startswith(email) and "disabled" in line for line in listed(shared.data))
    done(shared.data, "user", "enable", email)
    assert me(shared.url, key) == 200

    assert "--yes" in refused(shared.data, "user", "delete", email)
    assert me(shared.url, key) == 200
    done(shared.data, "user", "delete", email, "--yes")
    assert me(shared.url, key) == 401
    assert not any(line.startswith(email) for line in listed(shared.data))


def test_accounts_without_a_gateway(tmp_path: Path) -> None:
    data = tmp_path / "data"
    admin, user = "admin@example.test", "user@example.test"
    create(data, admin, "--admin")
    assert len(create(data, user)) == 64
    assert "look after" in refused(data, "user", "disable", admin)
    done(data, "user", "delete", user, "--yes")
    assert [line.split()[0] for line in listed(data)] == [admin]


def listed(data: Path) -> list[str]:
    return done(data, "user", "list").splitlines()[1:]


def test_a_mistake_is_told_in_a_sentence(shared: Running) -> None:
    assert "no account with that email" in refused(shared.data, "user", "disable", "nobody@example.test")
    assert "no terminal" in refused(shared.data, "user", "create", "--email=x@example.test")
    assert "at least 8" in refused(
        shared.data, "user", "create", "--email=x@example.test", "--password-stdin", typed="short\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_root_makes_belongs_to_the_gateways_user() -> None:
    nobody = 65_534
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        Path(name).chmod(0o755)
        data.mkdir(mode=0o700)
        os.chown(data, nobody, nobody)
        assert len(create(data, "root@example.test", "--admin")) == 64
        made = [path for path in data.rglob("*") if path.name != "control.sock"]
        assert {path.stat().st_uid for path in made} == {nobody}
        assert data / "gateway.db" in made
