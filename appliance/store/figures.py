"""Counts over all accounts, for whoever runs the gateway."""

from appliance.store.query import Query, count


def deliveries_waiting() -> Query[int]:
    """How many webhook deliveries are not yet through: two counts, because each kind of waiting has its
    own index."""
    waiting = "SELECT count(*) FROM deliveries WHERE status = 'pending' AND attempts"
    return count(f"SELECT ({waiting} = 0) + ({waiting} > 0)")
