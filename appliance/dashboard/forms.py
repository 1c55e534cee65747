"""Reading what a person typed into a form."""

from typing import Any

from litestar.datastructures import FormMultiDict

FORM_TYPE = "application/x-www-form-urlencoded"
LONGEST = 65_536


class Typed(dict[str, str]):
    """What was typed, to be shown again beside what is wrong with it; a field never typed is empty."""

    def __missing__(self, name: str) -> str:
        return ""


class Form:
    """The fields of a form, always as text."""

    def __init__(self, fields: FormMultiDict) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """The field without blanks around it; empty when it is missing."""
        return self.secret(name).strip()

    def secret(self, name: str) -> str:
        """The field exactly as it was typed: blanks belong to a password."""
        value: Any = self._fields.get(name, "")
        return value if isinstance(value, str) else ""

    def all(self, name: str) -> list[str]:
        """Every ticked value of a group of boxes."""
        return [value for value in self._fields.getall(name, []) if isinstance(value, str)]

    def typed(self, *names: str) -> Typed:
        """These fields as they were typed."""
        return Typed({name: self.text(name) for name in names})
