"""Builds the real engine that the configuration asks for; only what that one needs is imported."""

from typing import TYPE_CHECKING

from appliance.engine.settings import EngineSettings

if TYPE_CHECKING:
    from appliance.engine.supervisor import RealEngine


def build(settings: EngineSettings) -> "RealEngine":
    """The engine, not yet opened. With isolation `inline`, `ensure_environment` must have been called."""
    from appliance.engine.supervisor import RealEngine

    if settings.isolation == "inline":
        from appliance.engine.inline import InlineLauncher

        return RealEngine(InlineLauncher(), proxy=settings.proxy, single_device=True)
    from appliance.engine.launcher import ForkServerLauncher

    return RealEngine(ForkServerLauncher(), proxy=settings.proxy)
