"""How long tests wait: no time in which something must come tells more than whether it came."""

PATIENCE_S = 60.0
"""For what must come: far longer than it takes, so that a busy machine turns nothing red."""
