"""What makes the bundle: it takes only locked packages, and reads what a Go library is made of."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from patience import PATIENCE_S

from appliance.engine.library_file import LibraryFile

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    """A copy of the lock files and their reader."""
    for name in ("locked.py", "requirements.lock", "requirements-test.lock"):
        shutil.copy(PACKAGING / name, tmp_path)
    return tmp_path


def test_another_version_than_the_locked_one_is_named(locks: Path) -> None:
    lock = locks / "requirements.lock"
    text = lock.read_text("utf-8")
    locked = next(line.split()[0] for line in text.splitlines() if line.startswith("msgspec=="))
    lock.write_text(text.replace(locked, "msgspec==0.0.1") + "nosuchpackage==1.0\n", "utf-8")
    found = python(locks, "locked.py", "check")
    assert found.returncode == 1
    assert f"msgspec is {locked.removeprefix('msgspec==')}, not 0.0.1\n" in found.stderr
    assert "nosuchpackage 1.0 is not installed\n" in found.stderr


def test_a_package_changed_by_hand_is_named(locks: Path) -> None:
    package = locks / "changed"
    folder = package / "example-1.0.dist-info"
    folder.mkdir(parents=True)
    (package / "example.py").write_text("changed", "utf-8")
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n", "utf-8")
    (folder / "RECORD").write_text("example.py,sha256=AAAA,7\nexample-1.0.dist-info/RECORD,,\n", "utf-8")
    (locks / "requirements.lock").write_text("example==1.0\n", "utf-8")
    code = "import sys; sys.path.insert(0, 'changed'); import locked; print(locked.differences())"
    found = python(locks, "-c", code)
    assert "example has a changed example.py" in found.stdout, found.stderr


def test_pip_is_given_each_package_once_with_its_hashes() -> None:
    lines = python(PACKAGING, "locked.py", "requirements").stdout.splitlines()
    names = [line.partition("==")[0] for line in lines if "==" in line and not line.startswith(" ")]
    assert len(set(names)) == len(names)
    assert {"litestar", "neonize", "pyinstaller", "setuptools"} <= set(names)
    assert "pytest" not in names
    assert sum("--hash=sha256:" in line for line in lines) > len(names)


def modules_of(binary: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import dataclasses, go_modules, json, pathlib, sys\n"
        "version, modules = go_modules.read(pathlib.Path(sys.argv[1]))\n"
        "print(json.dumps([version, [dataclasses.asdict(m) for m in modules]]))"
    )
    return python(PACKAGING, "-c", code, str(binary))


def test_every_module_of_the_library_has_a_licence_and_its_text() -> None:
    version, modules = json.loads(modules_of(LibraryFile.here().path).stdout)
    assert version.split(".")[0] == "1"
    paths = {module["path"] for module in modules}
    assert {"go.mau.fi/whatsmeow", "go.mau.fi/libsignal", "github.com/mattn/go-sqlite3"} <= paths
    assert all(module["sum"].startswith("h1:") and module["version"].startswith("v") for module in modules)
    known = tomllib.loads((PACKAGING / "licences/known.toml").read_text("utf-8"))["go"]
    assert paths | {"std"} == known.keys()
    assert all(list((PACKAGING / "licences/go" / path).glob("LICENSE*")) for path in known)


def test_a_file_without_a_module_list_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.so"
    file.write_bytes(bytes(100) + b"\xff Go buildinf:" + bytes(100))
    found = modules_of(file)
    assert found.returncode == 1
    assert "ValueError: other.so has no build information that can be read" in found.stderr


@pytest.mark.parametrize("script", ["build.sh", "build-arm64.sh", "check-reproducible.sh"])
def test_a_wrong_option_is_refused_before_anything_is_done(script: str) -> None:
    found = subprocess.run(
        [PACKAGING / script, "--nonsense"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert found.returncode == 2
    assert found.stderr.startswith(f"Usage: packaging/{script}")
