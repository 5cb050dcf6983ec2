"""A receipt: the answer that a mutation was given, kept for whoever asks for the same once more."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """An answer, written in the commit of the mutation itself.

    Which revision that commit gets is not known when it is written, but the record has it ever after: texts are kept in
    pieces, and between each two of them stands the number of the record's own revision.
    """

    #: Hash of the request that was answered.
    request: str
    at_ms: int
    status: int
    body: tuple[str, ...]
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Schema of this record.
    v: int = 1
