"""The fencing token: what makes the command of a former holder refusable."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Token:
    """Proof of a hold, compared field by field: a higher one has been granted later.

    It is not a lock: nothing stops a former holder from sending; whoever receives must compare.
    """

    #: The store's life number; rises when a store is restored or copied, so that revisions may start again.
    incarnation: int
    #: ``create_revision`` of the hold's key.
    revision: int

    def __str__(self) -> str:
        """``<incarnation>.<revision>``, as shown outside the server."""
        return f"{self.incarnation}.{self.revision}"
