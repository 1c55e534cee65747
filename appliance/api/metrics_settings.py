"""Who may read the metrics."""

import msgspec


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`public` shows `/metrics` to everybody who reaches the gateway, not to this machine alone."""

    public: bool = False
