"""The bundle as `packaging/build.sh` makes it, built when there is none or the sources are newer."""

import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

from one_at_a_time import turn

ROOT = Path(__file__).resolve().parents[1]
EXECUTABLE = ROOT / "packaging/dist/wa-gateway/wa-gateway"
BUILD_S = 900.0


@functools.cache
def built() -> Path:
    """The bundle's executable. Raises CalledProcessError with the build's own words."""
    with turn(ROOT / "packaging"):
        if not EXECUTABLE.exists() or EXECUTABLE.stat().st_mtime < max(p.stat().st_mtime for p in _sources()):
            subprocess.run([ROOT / "packaging/build.sh"], check=True, timeout=BUILD_S)
    return EXECUTABLE


def _sources() -> Iterator[Path]:
    yield from (ROOT / "LICENSE", ROOT / "config.example.toml")
    packaging = ROOT / "packaging"
    made_with = {".json", ".lock", ".py", ".service", ".sh", ".spec", ".toml", ".yaml"}
    found = (*packaging.glob("*"), *packaging.glob("licences/*"), *packaging.glob("monitoring/*"))
    yield from (p for p in found if p.suffix in made_with)
    yield from (p for p in (ROOT / "appliance").rglob("*") if p.suffix in {".py", ".sql"})
    yield from (p for p in (ROOT / "web").rglob("*") if p.is_file())
