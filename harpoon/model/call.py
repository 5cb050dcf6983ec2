"""A call of another workflow: a function, whose run is part of the one that calls it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harpoon.model.inputs import INPUTS_MAX
from harpoon.model.label import check_word
from harpoon.model.name import check_name

#: Any value that JSON has.
Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A run of another workflow of the namespace, that is waited for."""

    #: The name of a workflow. No workflow calls itself, by way of others either.
    workflow: str
    #: Name → what that workflow is given: any value, with ``${…}`` in its texts.
    inputs: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("workflow", self.workflow)
        if len(self.inputs) > INPUTS_MAX:
            raise ValueError(f"inputs holds at most {INPUTS_MAX}")
        for name in self.inputs:
            check_word("an input's name", name)

    def template(self) -> Json:
        """Return what expressions may stand in, which is evaluated when the operation opens."""
        return dict(self.inputs)
