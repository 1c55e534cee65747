"""A gateway whose WhatsApp library is damaged says so, and does everything else."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from damaged_library import damage, refuses_to_connect
from running import Running

from appliance.engine.library_file import LibraryFile


def test_a_real_device_is_refused_and_a_sandbox_device_sends(
    tmp_path: Path, start: Callable[..., Running]
) -> None:
    package = LibraryFile.here().path.parent
    copy = tmp_path / "first/neonize"
    copy.mkdir(parents=True)
    for name in ("__init__.py", LibraryFile.here().path.name):
        shutil.copy(package / name, copy)
    damage(copy / LibraryFile.here().path.name)
    path = os.pathsep.join([str(copy.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    gateway = start(environment={"PYTHONPATH": path})
    refuses_to_connect(gateway, gateway.account())
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.logged()
