"""`wa-gateway doctor` as a command, beside a running gateway."""

import json
import subprocess
from typing import Any

from patience import PATIENCE_S
from running import PROGRAM, Running


def test_a_running_gateway_answers_for_itself(shared: Running) -> None:
    ran = subprocess.run(
        [*PROGRAM, "doctor", "--json", f"--data-dir={shared.data}", f"--set=server.port={shared.port}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    found: dict[str, Any] = {each["check"]: each for each in json.loads(ran.stdout)}
    assert "runs (process" in found["port"]["text"]
    assert "The gateway finds its database in order" in found["database"]["text"]
    assert ran.returncode == 0, ran.stdout
