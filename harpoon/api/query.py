"""Parameters of a URL, read strictly: what a route does not know is refused, never ignored."""

from collections.abc import Mapping

from aiohttp import web

from harpoon.api.operation import operation_of
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.name import check_name
from harpoon.model.operation import check_handler
from harpoon.model.sub_run import check_any_run

Tags = tuple[tuple[str, str], ...]


class Query:
    """The query parameters of one request; the operation has refused what it does not declare."""

    def __init__(self, request: web.Request) -> None:
        operation = operation_of(request)
        assert operation is not None, "a handler is reached through its operation"
        self._known = {parameter.name: parameter for parameter in operation.parameters}
        self._given = request.query

    def one(self, name: str) -> str | None:
        """Return the value of a parameter, or None when it is absent."""
        assert name in self._known, f"the operation does not declare {name}"
        value: str | None = self._given.get(name)
        return value

    def name(self, parameter: str) -> str | None:
        """Return the value of a parameter that is the name of something.

        Raises:
            Invalid: It is no name.
        """
        value = self.one(parameter)
        try:
            return value if value is None else check_name(parameter, value)
        except ValueError as error:
            raise bad_parameter(parameter, str(error)) from error

    def flag(self, parameter: str, *, default: bool = False) -> bool:
        """Return whether a parameter is ``true``.

        Raises:
            Invalid: It is neither ``true`` nor ``false``.
        """
        value = self.one(parameter)
        if value not in (None, "true", "false"):
            raise bad_parameter(parameter, "write true or false")
        return default if value is None else value == "true"

    def count(self, parameter: str) -> int | None:
        """Return the value of a parameter that is declared as a whole number, or None when it is absent.

        Raises:
            Invalid: It is not a whole number within the declared bounds.
        """
        value = self.one(parameter)
        if value is None:
            return None
        low, high = self._known[parameter].schema["minimum"], self._known[parameter].schema["maximum"]
        if not (value.isascii() and value.isdigit() and len(value) <= 10 and low <= int(value) <= high):
            raise bad_parameter(parameter, f"write a whole number, {low} to {high}")
        return int(value)

    def many(self, name: str) -> tuple[str, ...]:
        """Return all values of a parameter that may be given any number of times."""
        assert self._known[name].many, f"the operation takes one {name} only"
        return tuple(self._given.getall(name, ()))

    def tags(self) -> Tags:
        """Return the ``tag=key=value`` parameters, sorted; all of them must hold.

        Raises:
            Invalid: One of them has no ``=`` or no key.
        """
        assert "tag" in self._known, "the operation does not declare tag"
        tags = set()
        for text in self._given.getall("tag", ()):
            key, mark, value = text.partition("=")
            if not mark or not key:
                raise bad_parameter("tag", f"write tag=<key>=<value>; got {text[:80]!r}")
            tags.add((key, value))
        return tuple(sorted(tags))


def has_tags(held: Mapping[str, str], asked: Tags) -> bool:
    """Whether what holds these tags is asked for: all of ``asked`` must hold."""
    return all(held.get(key) == value for key, value in asked)


def bad_parameter(name: str, detail: str) -> Invalid:
    """Make the error that tells what is wrong with one query parameter."""
    return Invalid(f"{name}: {detail}", [Problem(pointer=f"?{name}", detail=detail)])


def checked_name(what: str, text: str) -> str:
    """Return ``text`` if it is a name.

    Raises:
        Invalid: It is not.
    """
    try:
        return check_name(what, text)
    except ValueError as error:
        raise Invalid(str(error)) from error


def path_name(request: web.Request, part: str) -> str:
    """Return a part of the path that must be a name.

    Raises:
        Invalid: It is not one; such as ``..`` or anything with a slash hidden in it.
    """
    what = {"ns": "namespace", "name": "name"}[part]
    return checked_name(what, request.match_info[part])


def path_run(request: web.Request) -> str:
    """Return the id of a run in the path.

    Raises:
        Invalid: It is none.
    """
    try:
        return check_any_run(request.match_info["run"])
    except ValueError as error:
        raise Invalid(str(error)) from error


def path_signal(request: web.Request) -> str:
    """Return the name of a signal in the path.

    Raises:
        Invalid: It is none.
    """
    try:
        return check_handler("signal", request.match_info["signal"])
    except ValueError as error:
        raise Invalid(str(error)) from error
