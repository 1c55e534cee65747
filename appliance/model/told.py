"""What whoever asked is told in a sentence, and never as a traceback."""


class Told(Exception):
    """Something cannot be done; the message says what, and what to do about it. Whoever carries out a command
    or starts the gateway shows it and ends."""


def refused_by_system(error: OSError, where: object) -> str:
    """What the system refused, as a sentence, and of which file; `where` counts when it does not say."""
    return f"{error.filename or where}: {error.strerror or error}."
