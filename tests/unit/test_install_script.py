"""The install scripts are checked for what they decide without a network and without root, the unit for how
little it may do, and the lock files for what they promise."""

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
RUN_LOCK = Path("packaging/requirements.lock")
TEST_LOCK = Path("packaging/requirements-test.lock")
BUNDLE_SCRIPTS = ("appliance.sh", "health.sh", "upgrade.sh")
UNIT = ROOT / "packaging/appliance.service"
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+) \\$")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What install.sh reads of a checkout, under a path with a space."""
    place = tmp_path / "my checkout"
    (place / "packaging").mkdir(parents=True)
    scripts = [Path("packaging") / name for name in BUNDLE_SCRIPTS]
    for name in (Path("install.sh"), Path("pyproject.toml"), RUN_LOCK, TEST_LOCK, *scripts):
        shutil.copy2(ROOT / name, place / name)
    return place


@pytest.fixture
def foreign_machine(tmp_path: Path) -> dict[str, str]:
    """An environment whose uname tells of a machine no wheel is made for, so that building must refuse."""
    stand_ins = tmp_path / "stand-ins"
    stand_ins.mkdir()
    write_program(stand_ins / "uname", 'echo "Linux armv7l"')
    return {"PATH": f"{stand_ins}:{os.environ['PATH']}"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """An unpacked tarball, as far as its scripts look before they change anything; its program must not
    run."""
    place = tmp_path / "wa gateway"
    place.mkdir()
    for name in BUNDLE_SCRIPTS:
        shutil.copy2(ROOT / "packaging" / name, place / name.replace("appliance", "install"))
    write_program(place / "wa-gateway", "echo the program was started >&2; exit 70")
    return place


def write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def install(
    checkout: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs install.sh from another directory, without HOME."""
    elsewhere = checkout.parent / "else where"
    elsewhere.mkdir(exist_ok=True)
    command = [str(checkout / "install.sh"), *arguments]
    env = env or {"PATH": os.environ["PATH"]}
    return subprocess.run(
        command, cwd=elsewhere, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_ready(checkout: Path) -> None:
    """A .venv as a finished installation leaves it, whose Python must not be needed again."""
    programs = checkout / ".venv/bin"
    programs.mkdir(parents=True)
    write_program(programs / "python3", "echo the Python was started >&2; exit 70")
    write_program(programs / "wa-gateway", 'pwd; printf "%s\\n" "$@"')
    stamp = [
        f"place {checkout}",
        f"python {programs / 'python3'}",
        f"run {sha256(checkout / RUN_LOCK)}",
        f"project {sha256(checkout / 'pyproject.toml')}",
    ]
    (checkout / ".venv/.installed").write_text("\n".join(stamp) + "\n")


def pins(lock: Path) -> dict[str, str]:
    matches = (PIN.match(line) for line in (ROOT / lock).read_text().splitlines())
    return {match["name"]: match["version"] for match in matches if match}


@pytest.mark.parametrize(
    "script", ["install.sh", "packaging/appliance.sh", "packaging/build.sh", "packaging/lock.sh", ".ci/run"]
)
def test_the_scripts_parse_and_are_executable(script: str) -> None:
    path = ROOT / script
    shell = "bash" if "bash" in path.read_text().splitlines()[0] else "sh"
    assert os.access(path, os.X_OK)
    assert subprocess.run([shell, "-n", path], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    scripts = ["install.sh", *(f"packaging/{name}" for name in BUNDLE_SCRIPTS)]
    said = subprocess.run(
        ["shellcheck", "-x", *scripts],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("script", ["install.sh", "packaging/appliance.sh"])
def test_what_runs_as_root_can_be_read_in_one_sitting(script: str) -> None:
    assert len((ROOT / script).read_text().splitlines()) <= 200


@pytest.mark.parametrize(("arguments", "code"), [((), 2), (("upgrade-all",), 2), (("help",), 0)])
def test_anything_but_a_known_command_shows_the_usage(
    checkout: Path, arguments: tuple[str, ...], code: int
) -> None:
    result = install(checkout, *arguments)
    assert result.returncode == code
    assert "Usage: ./install.sh run" in (result.stderr if code else result.stdout)


def test_an_unsupported_machine_is_refused_in_one_line(
    checkout: Path, foreign_machine: dict[str, str]
) -> None:
    result = install(checkout, "run", env=foreign_machine)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "armv7l" in result.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("machine", "bits", "libc", "named"),
    [
        ("Linux x86_64", "64", "glibc 2.33", "glibc 2.33"),
        ("Linux aarch64", "32", "glibc 2.36", "32-bit"),
        ("Linux armv7l", "32", "glibc 2.36", "armv7l"),
        ("Linux x86_64", "64", "", "no glibc"),
        ("Darwin arm64", "64", "", "Darwin"),
    ],
)
@pytest.mark.parametrize("verb", ["install", "upgrade", "run"])
def test_a_bundle_is_not_touched_on_a_machine_it_is_not_for(
    bundle: Path, tmp_path: Path, verb: str, machine: str, bits: str, libc: str, named: str
) -> None:
    stand_ins = tmp_path / "stand-ins"
    stand_ins.mkdir()
    write_program(stand_ins / "uname", f'echo "{machine}"')
    answer = f'echo "{libc}"' if libc else "exit 1"
    write_program(stand_ins / "getconf", f'[ "$1" = LONG_BIT ] && echo {bits} && exit; {answer}')
    write_program(stand_ins / "id", "echo 0")
    result = subprocess.run(
        [bundle / "install.sh", verb],
        env={"PATH": f"{stand_ins}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert named in result.stderr
    assert "the program was started" not in result.stderr


def test_only_root_installs(bundle: Path, tmp_path: Path) -> None:
    stand_ins = tmp_path / "stand-ins"
    stand_ins.mkdir()
    write_program(stand_ins / "id", "echo 1000")
    env = {"PATH": f"{stand_ins}:{os.environ['PATH']}"}
    for verb in ("install", "upgrade", "uninstall"):
        done = subprocess.run(
            [bundle / "install.sh", verb],
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (
            1,
            f"install.sh: this must be done as root: sudo ./install.sh {verb}\n",
        )


@pytest.mark.parametrize(
    "versions",
    [
        "0.9.0 0.10.0",
        "1.0rc1 1.0",
        "1.0a2 1.0b1",
        "1.0rc9 1.0rc10",
        "1.0 1.1rc1",
        "1.0.dev1 1.0",
        "1.0 1.0.1",
    ],
)
def test_the_newest_version_is_known(versions: str) -> None:
    older, newer = versions.split()
    for order in ((older, newer), (newer, older)):
        said = subprocess.run(
            ["sh", "-c", '. "$0" && newest_of "$@"', ROOT / "packaging/upgrade.sh", *order],
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout == f"{newer}\n"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_may_do_little() -> None:
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", UNIT],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "Overall exposure level" in said.stdout, said.stderr
    assert said.returncode == 0, said.stdout[-300:]


def test_a_ready_installation_starts_at_once_and_paths_mean_the_callers_directory(checkout: Path) -> None:
    make_ready(checkout)
    options = [
        "--config",
        "a b.toml",
        "--data-dir=there/data",
        "--set",
        "server.port=1",
        "--data-dir",
        "/abs",
    ]
    result = install(checkout, "run", *options)
    here = checkout.parent / "else where"
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        str(checkout),
        "serve",
        "--config",
        f"{here}/a b.toml",
        f"--data-dir={here}/there/data",
        "--set",
        "server.port=1",
        "--data-dir",
        "/abs",
    ]


@pytest.mark.parametrize("stale", ["lock", "place", "crash"])
def test_a_stale_installation_is_not_started(
    checkout: Path, foreign_machine: dict[str, str], stale: str
) -> None:
    make_ready(checkout)
    if stale == "lock":
        with (checkout / RUN_LOCK).open("a") as lock:
            lock.write("# changed\n")
    elif stale == "place":
        checkout = checkout.rename(checkout.with_name("moved"))
    else:
        (checkout / ".venv/.installed").unlink()
    result = install(checkout, "run", env=foreign_machine)
    assert result.returncode == 1
    assert "not supported" in result.stderr
    assert "serve" not in result.stdout


@pytest.mark.parametrize("lock", [RUN_LOCK, TEST_LOCK], ids=["run", "test"])
def test_a_lock_pins_every_package_by_hash_and_names_no_address(lock: Path) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    started = [index for index, line in enumerate(lines) if line and line[0] not in " #"]
    assert started
    assert len(started) == len(pins(lock))
    assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", lines[index + 1]) for index in started)


def test_the_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run, test = pins(RUN_LOCK), pins(TEST_LOCK)
    assert dict(entry.split("==") for entry in project["dependencies"]).items() <= run.items()
    assert run.items() <= test.items()
    extras = {re.split(r"[=<>~!\[]", entry)[0].lower() for entry in project["optional-dependencies"]["test"]}
    assert extras <= test.keys()
    assert "setuptools" in run, "the project is installed without build isolation"
