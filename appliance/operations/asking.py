"""One way for every command that changes something: the running gateway does it, else the house without its
doors."""

import sys
from typing import Any

from appliance import control
from appliance.config import Config
from appliance.model.told import Told


class Refused(Told):
    """What was asked for was not done; the message says why."""


class Unanswered(Refused):
    """The running gateway was asked and did not say what came of it: it may do it all the same."""


def ask(config: Config, command: str, **details: Any) -> dict[str, Any]:
    """Have the command done by whoever holds the data directory; returns its answer. Raises Refused,
    Unanswered."""
    try:
        answer = control.ask(config.data, command, **details)
    except TimeoutError:
        within = f"{control.ANSWER_WITHIN_S:.0f} s"
        raise Unanswered(
            f"the running gateway did not answer within {within}; it may do it all the same."
        ) from None
    except (OSError, ValueError):
        raise Unanswered(
            "the running gateway ended before it answered; it may have done it all the same."
        ) from None
    if answer is None:
        # Reading in the whole house takes a second, which asking a running gateway need not wait for.
        from appliance.operations.alone import do_alone

        answer = do_alone(config, command, details)
    if "error" in answer:
        raise Refused(str(answer["error"]))
    return answer


def say(text: str) -> None:
    """The command's answer, on stdout."""
    print(text)  # noqa: T201


def refuse(text: object, code: int = 1) -> int:
    """Say on stderr why a command did not succeed; returns the exit code."""
    warn(text)
    return code


def warn(text: object) -> None:
    """Say on stderr what the user should know, beside the command's answer."""
    print(f"wa-gateway: {text}", file=sys.stderr)  # noqa: T201
