"""Counts over all accounts, for whoever runs the gateway."""

import msgspec

from appliance.store.query import Query, count


class Room(msgspec.Struct, frozen=True):
    """How large the database's file is, how much of it is free, and each of its pages, in bytes."""

    file: int
    free: int
    page: int

    @property
    def used(self) -> int:
        return self.file - self.free


def room() -> Query[Room]:
    """The file as the last commit left it; the log beside it is not counted."""
    sql = (
        "SELECT page_count * page_size, freelist_count * page_size, page_size "
        "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    )
    return Query(sql, (), lambda row: Room(*row))


def deliveries_waiting() -> Query[int]:
    """How many webhook deliveries are not yet through: two counts, because each kind of waiting has its
    own index."""
    waiting = "SELECT count(*) FROM deliveries WHERE status = 'pending' AND attempts"
    return count(f"SELECT ({waiting} = 0) + ({waiting} > 0)")


def media_bytes() -> Query[int]:
    """Bytes of the received files that are kept."""
    return count("SELECT coalesce(sum(size), 0) FROM media WHERE state = 'stored'")
