"""What a build is made from: the packages that the lock files name, and whether they are what is installed.

locked.py requirements    print what a build takes, for pip's --require-hashes
locked.py check           refuse, naming each package, when this Python's packages are others
"""

import base64
import hashlib
import importlib.metadata
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
RUN, TEST = HERE / "requirements.lock", HERE / "requirements-test.lock"
BUILDER = ("altgraph", "packaging", "pyinstaller", "pyinstaller-hooks-contrib", "setuptools")
"""PyInstaller and what it needs; the lock of the tests holds them."""

_BLOCK = re.compile(r"^\w(?:.*\\\n)*.*", re.MULTILINE)
_SHA256 = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """One locked package: its version, whether this machine takes it, the SHA-256 of each archive it may
    come from, and the lock's own words."""

    name: str
    version: str
    is_for_here: bool
    archives: tuple[str, ...]
    text: str


def pins(lock: Path) -> dict[str, Pin]:
    """What a lock file names, by canonical name."""
    found: dict[str, Pin] = {}
    for text in _BLOCK.findall(lock.read_text("utf-8")):
        requirement = Requirement(text.partition("\\")[0].strip())
        name = canonicalize_name(requirement.name)
        version = str(requirement.specifier).removeprefix("==")
        is_for_here = requirement.marker is None or requirement.marker.evaluate()
        found[name] = Pin(name, version, is_for_here, tuple(_SHA256.findall(text)), text)
    return found


def for_a_build() -> dict[str, Pin]:
    """What runs in the bundle, and what makes it."""
    test = pins(TEST)
    return {name: test[name] for name in BUILDER} | pins(RUN)


def differences() -> list[str]:
    """How this Python's packages differ from the locked ones, a sentence each."""
    taken = (pin for pin in for_a_build().values() if pin.is_for_here)
    return [sentence for pin in taken if (sentence := _difference(pin))]


def _difference(pin: Pin) -> str:
    try:
        installed = importlib.metadata.distribution(pin.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{pin.name} {pin.version} is not installed"
    if installed.version != pin.version:
        return f"{pin.name} is {installed.version}, not {pin.version}"
    for file in installed.files or ():
        if file.hash is None:
            continue
        try:
            found = hashlib.new(file.hash.mode, Path(str(file.locate())).read_bytes()).digest()
        except FileNotFoundError:
            return f"{pin.name} has lost {file}"
        if base64.urlsafe_b64encode(found).decode().rstrip("=") != file.hash.value:
            return f"{pin.name} has a changed {file}"
    return ""


def main(words: list[str]) -> int:
    if words == ["requirements"]:
        print("\n".join(pin.text for pin in for_a_build().values()))
        return 0
    if words == ["check"]:
        found = differences()
        for sentence in found:
            print(f"locked.py: {sentence}", file=sys.stderr)
        return 1 if found else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
