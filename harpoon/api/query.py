"""Parameters of a URL, read strictly: what a route does not know is refused, never ignored."""

from collections.abc import Iterable

from aiohttp import web

from harpoon.kit.errors import Invalid, Problem
from harpoon.model.name import check_name

Tags = tuple[tuple[str, str], ...]


class Query:
    """The query parameters of one request."""

    def __init__(self, request: web.BaseRequest, *known: str, many: Iterable[str] = ()) -> None:
        """Read them.

        Args:
            request: Whose.
            known: Parameters that may be given once.
            many: Parameters that may be given any number of times.

        Raises:
            Invalid: A parameter that is neither, or one of ``known`` twice; all of them are told at once.
        """
        given = request.query
        repeatable = frozenset(many)
        faults = []
        for name in dict.fromkeys(given):
            if name not in known and name not in repeatable:
                allowed = ", ".join((*known, *sorted(repeatable))) or "none"
                faults.append(Problem(pointer=f"?{name[:80]}", detail=f"not a parameter here; these are: {allowed}"))
            elif name in known and len(given.getall(name)) > 1:
                faults.append(Problem(pointer=f"?{name}", detail="give it once"))
        if faults:
            names = ", ".join(fault.pointer[1:] for fault in faults)
            raise Invalid(f"query parameters that cannot be: {names}", faults)
        self._given = given

    def one(self, name: str) -> str | None:
        """Return the value of a parameter, or None when it is absent."""
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

    def flag(self, parameter: str) -> bool:
        """Return whether a parameter is ``true``; absent means it is not.

        Raises:
            Invalid: It is neither ``true`` nor ``false``.
        """
        value = self.one(parameter)
        if value not in (None, "true", "false"):
            raise bad_parameter(parameter, "write true or false")
        return value == "true"

    def count(self, parameter: str, *, most: int) -> int | None:
        """Return the value of a parameter that counts something, or None when it is absent.

        Raises:
            Invalid: It is not a whole number of at most ``most``.
        """
        value = self.one(parameter)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 10 and int(value) <= most):
            raise bad_parameter(parameter, f"write a whole number, 0 to {most}")
        return int(value)

    def tags(self) -> Tags:
        """Return the ``tag=key=value`` parameters, sorted; all of them must hold.

        Raises:
            Invalid: One of them has no ``=`` or no key.
        """
        tags = set()
        for text in self._given.getall("tag", ()):
            key, mark, value = text.partition("=")
            if not mark or not key:
                raise bad_parameter("tag", f"write tag=<key>=<value>; got {text[:80]!r}")
            tags.add((key, value))
        return tuple(sorted(tags))


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
