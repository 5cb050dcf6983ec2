"""What is told of decisions once they are durable, or never will be."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from harpoon.control.draft import Draft, Landing, Overtaken
from harpoon.control.orders import MOVED, OVER, Refusal
from harpoon.kit.errors import NotFound

T = TypeVar("T")


def checked(draft: Draft | None, told: T) -> T:
    """Return what is told if it is durable; else raise why it is not.

    Raises:
        NotFound: There is no such open run: its start found that one of its id had ended before.
        HarpoonError: It is not known what becomes of it.
    """
    if draft is not None:
        if isinstance(draft.error, Overtaken):
            raise NotFound(over(draft.key).message) from draft.error.with_traceback(None)
        draft.check()
    return told


def landing(
    found: Sequence[tuple[Draft | None, T]],
    then: Callable[[list[T | Refusal]], Awaitable[list[T | Refusal]]] | None = None,
) -> Landing[list[T | Refusal]]:
    """Return what tells of each of many once it is durable, or that it is not."""

    def tell() -> list[T | Refusal]:
        return [told if draft is None or draft.error is None else _failed(draft.error) for draft, told in found]

    return Landing([draft for draft, _ in found if draft is not None], tell, then)


def _failed(error: Exception) -> Refusal:
    return Refusal(OVER if isinstance(error, Overtaken) else MOVED, str(error))


def over(key: str) -> Refusal:
    """Return what is told of a run that is not open."""
    return Refusal(OVER, f"run {key.partition('/')[2]} is not open")
