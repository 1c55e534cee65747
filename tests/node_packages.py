"""The Node packages of the tests, installed from their lock file."""

import shutil
import subprocess
from pathlib import Path

from one_at_a_time import turn

FOLDER = Path(__file__).resolve().parent / "e2e" / "node"
NODE, NPM = shutil.which("node"), shutil.which("npm")


def install() -> Path:
    """Install them when they are missing or others than the lock file's; where they are."""
    modules = FOLDER / "node_modules"
    stamp = modules / ".lock"
    lock = (FOLDER / "package-lock.json").read_text("utf-8")
    with turn(FOLDER):
        if not stamp.exists() or stamp.read_text("utf-8") != lock:
            assert NPM is not None
            subprocess.run(
                [NPM, "ci", "--include=dev", "--ignore-scripts"], cwd=FOLDER, check=True, capture_output=True
            )
            stamp.write_text(lock, "utf-8")
    return modules
