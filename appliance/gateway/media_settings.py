"""The media section of the configuration."""

from typing import Annotated

import msgspec


class MediaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`max_bytes` bounds each file, sent or received. Received files are kept for `keep_days`."""

    max_bytes: Annotated[int, msgspec.Meta(ge=1)] = 100 * 1024 * 1024
    keep_days: Annotated[int, msgspec.Meta(ge=0)] = 14
