"""Writing a workflow down in Python: what comes of it is the manifest, and nothing else.

::

    flow = Workflow("refund", inputs={"order": {"type": "string"}})
    pay = flow.worker("pay_back", "payments.refund", input={"order": flow.given("order")}, visits=4)
    ask = flow.worker("ask_human", "desk.ask", visits=4)
    pay.on("fail", ask)
    flow.manifest()

The code runs once, where it is written; nothing of it runs again when the workflow does. What a manifest may say the
server knows: here it is only seen to that operations exist, and exist once.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from harpoon.kit.errors import Invalid

API_VERSION: Final = "harpoon/v1"
Json = Any


class Outcome(NamedTuple):
    """An operation that is closed with a label: something that another one can need."""

    operation: "Operation"
    label: str


class Operation:
    """One operation of a workflow that is being written."""

    def __init__(self, flow: "Workflow", name: str, spec: dict[str, Json]) -> None:
        self.name = name
        self._flow = flow
        self._spec = spec

    def __getitem__(self, label: str) -> Outcome:
        """Return what others can need: this operation, closed with that label."""
        return Outcome(self, label)

    @property
    def output(self) -> str:
        """What stands for its output in a text of another operation."""
        return f"${{ops.{self.name}.output}}"

    @property
    def label(self) -> str:
        """What stands for the label it was closed with."""
        return f"${{ops.{self.name}.label}}"

    def on(self, label: str, *targets: "Operation") -> Self:
        """Have operations opened each time that this one is closed with a label.

        Raises:
            Invalid: There is no target, or one is of another workflow.
        """
        if not targets:
            raise Invalid(f"{self.name}.on({label!r}) names no operation")
        edges = self._spec.setdefault("next", {})
        there = edges.get(label, [])
        names = [*([there] if isinstance(there, str) else there), *(self._flow.name_of(one) for one in targets)]
        edges[label] = names[0] if len(names) == 1 else names
        return self

    def needs(self, *needed: "Operation | Outcome") -> Self:
        """Have this one opened each time that all of these have been closed, with ``done`` unless said otherwise.

        Raises:
            Invalid: One is of another workflow.
        """
        self._spec.setdefault("needs", []).extend(self._flow.need_of(one) for one in needed)
        return self


class Workflow:
    """A workflow that is being written."""

    def __init__(
        self,
        name: str,
        *,
        namespace: str | None = None,
        tags: Mapping[str, str] | None = None,
        inputs: Mapping[str, Json] | None = None,
        deadline: str | None = None,
        on_failure: str | None = None,
    ) -> None:
        """Begin one without operations.

        Args:
            name: Of the workflow.
            namespace: If it is to say so itself.
            tags: By their keys.
            inputs: JSON Schemas by the inputs' names.
            deadline: By when a run is over, such as ``24h``.
            on_failure: ``cancel``, ``continue`` or ``park``.
        """
        self._metadata = _given(name=name, namespace=namespace, tags=None if tags is None else dict(tags))
        self._spec = _given(inputs=None if inputs is None else dict(inputs), deadline=deadline, on_failure=on_failure)
        self._operations: dict[str, dict[str, Json]] = {}
        self._known: dict[str, Operation] = {}
        self._outputs: dict[str, Json] = {}

    def worker(self, name: str, handler: str, **said: Json) -> Operation:
        """Add an operation that workers carry out; `operation` has the rest."""
        return self.operation(name, worker=handler, **said)

    def wait(
        self,
        name: str,
        *,
        signal: str | None = None,
        until: str | None = None,
        span: str | None = None,
        callback: bool = False,
        **said: Json,
    ) -> Operation:
        """Add an operation that waits: for a signal, until a moment, for a span, or for a callback.

        `operation` has the rest. The URL to be called back is ``run.callbacks.NAME`` in expressions before it.

        Raises:
            Invalid: It is not exactly one of these, or as by `operation`.
        """
        given = (("signal", signal), ("until", until), ("for", span), ("callback", callback or None))
        what: dict[str, Json] = {key: value for key, value in given if value is not None}
        if len(what) != 1:
            known = "a signal, until a moment, for a span, or for a callback"
            raise Invalid(f"operation {name} waits for {known}: say exactly one")
        key = said.pop("key", None)
        return self.operation(name, wait={**what, **_given(key=key)}, **said)

    def choose(self, name: str, choices: Mapping[str, str], *, otherwise: str | None = None, **said: Json) -> Operation:
        """Add an operation that is closed with the first label whose expression holds; `operation` has the rest.

        Args:
            name: Of the operation.
            choices: Label → expression, such as ``inputs.amount > 100.0``.
            otherwise: The label if none holds.
            said: See `operation`.
        """
        when: list[dict[str, str]] = [{"when": _expression(text), "label": label} for label, text in choices.items()]
        last = [] if otherwise is None else [{"else": otherwise}]
        return self.operation(name, choose=[*when, *last], **said)

    def operation(
        self, name: str, *, needs: "Sequence[Operation | Outcome] | Operation | Outcome" = (), **said: Json
    ) -> Operation:
        """Add an operation of any kind.

        Args:
            name: Of the operation.
            needs: What must have been closed for it to be opened.
            said: Fields as a manifest has them: ``input``, ``timeout``, ``retry``, ``visits``, ``labels``, ``end`` …

        Raises:
            Invalid: There is one of that name.
        """
        if name in self._known:
            raise Invalid(f"there are two operations {name}")
        self._operations[name] = _given(**said)
        made = self._known[name] = Operation(self, name, self._operations[name])
        if needs:
            made.needs(*([needs] if isinstance(needs, Operation | Outcome) else needs))
        return made

    def start(self, operation: Operation) -> None:
        """Have runs begin with an operation: needed when each is opened by some other."""
        self._spec["start"] = self.name_of(operation)

    def output(self, name: str, value: Json) -> None:
        """Have runs tell something at their end."""
        self._outputs[name] = value

    def given(self, name: str) -> str:
        """Return what stands for an input in a text of an operation."""
        return f"${{inputs.{name}}}"

    def manifest(self) -> dict[str, Json]:
        """Return the document, as `harpoon apply` takes it."""
        last = {"outputs": self._outputs} if self._outputs else {}
        spec = {**self._spec, "operations": self._operations, **last}
        return {"apiVersion": API_VERSION, "kind": "Workflow", "metadata": self._metadata, "spec": spec}

    def name_of(self, operation: Operation) -> str:
        """Return the name of an operation of this workflow.

        Raises:
            Invalid: It is of another one.
        """
        if self._known.get(operation.name) is not operation:
            raise Invalid(f"operation {operation.name} is not of workflow {self._metadata['name']}")
        return operation.name

    def need_of(self, needed: Operation | Outcome) -> str:
        """Return how it is said that something is needed; the errors are those of `name_of`."""
        if isinstance(needed, Operation):
            return self.name_of(needed)
        return f"{self.name_of(needed.operation)}.{needed.label}"


def _given(**said: Json) -> dict[str, Json]:
    return {key: value for key, value in said.items() if value is not None}


def _expression(text: str) -> str:
    return text if text.startswith("${") else f"${{{text}}}"
