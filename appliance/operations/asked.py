"""What the running gateway does when the command line asks it by the control socket."""

from collections.abc import Mapping

from appliance.control import Command
from appliance.house import House
from appliance.operations import doctor_answer, move_changes, user_changes


def commands(house: House) -> Mapping[str, Command]:
    """Every command by its name; each takes the request's fields and returns the answer's."""
    return {
        **user_changes.commands(house),
        **move_changes.commands(house),
        **doctor_answer.commands(house),
    }
