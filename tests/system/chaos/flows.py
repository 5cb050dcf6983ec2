"""The workflows that are run while all is broken: one after the other, fanned out and joined, in a circle, waiting, retried."""

import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from harpoon.worker import Workflow

#: Whatever is broken, a step gets done in the end: so how a run ends follows from what it was started with.
PATIENT: Mapping[str, Any] = {
    "timeout": "20s",
    "heartbeat": "2s",
    "retry": {
        "timeout": {"attempts": 20},
        "lost": {"attempts": 60},
        "backoff": {"initial": "50ms", "factor": 1.5, "max": "1s"},
    },
}
_INTEGER = {"type": "integer"}


class Flow(NamedTuple):
    """A workflow, what runs of it are started with, and what must come of one."""

    manifest: Mapping[str, Any]
    inputs: Callable[[random.Random], dict[str, Any]]
    #: Inputs → the status, and the outputs that are to be: None, if these depend on what is broken.
    comes_to: Callable[[Mapping[str, Any]], tuple[str, Mapping[str, Any] | None]]
    #: Name of the signal that it waits for.
    signal: str = ""
    #: How often it is run, compared with others.
    share: float = 1.0


def flows() -> Mapping[str, Flow]:
    """Return all, by their names."""
    made = (_line(), _fan(), _circle(), _ask(), _rough(), _wrong(), _bulk())
    return {flow.manifest["metadata"]["name"]: flow for flow in made}


def _line() -> Flow:
    """Five steps, one of which waits."""
    flow = Workflow("line", inputs={"n": _INTEGER}, deadline="15m")
    last = flow.worker("s0", "chaos.add", input={"n": flow.given("n")}, **PATIENT)
    for number in range(1, 4):
        given = {"n": f"${{ops.{last.name}.output.n}}"}
        last = flow.worker(f"s{number}", "chaos.add", needs=last, input=given, **PATIENT)
    rest = flow.wait("rest", span="300ms", needs=last)
    flow.worker("s4", "chaos.add", needs=rest, input={"n": "${ops.s3.output.n}"}, **PATIENT)
    flow.output("n", "${ops.s4.output.n}")
    return Flow(flow.manifest(), _any_n, lambda told: ("succeeded", {"n": told["n"] + 5}))


def _fan() -> Flow:
    """One, eight, and one that waits for all; then one of two."""
    flow = Workflow("fan", inputs={"n": _INTEGER}, deadline="15m")
    first = flow.worker("first", "chaos.add", input={"n": flow.given("n")}, **PATIENT)
    many = [
        flow.worker(
            f"m{number}",
            "chaos.toil" if number % 4 == 0 else "chaos.nap",
            needs=first,
            input={"n": "${ops.first.output.n}", "seconds": 0.1 + number * 0.15},
            **PATIENT,
        )
        for number in range(8)
    ]
    total = " + ".join(f"ops.{one.name}.output.n" for one in many)
    last = flow.worker("last", "chaos.add", needs=many, input={"n": f"${{{total}}}"}, **PATIENT)
    which = flow.choose("which", {"even": "inputs.n % 2 == 0"}, otherwise="odd", needs=last)
    for label in ("even", "odd"):
        flow.worker(f"tell_{label}", "chaos.add", needs=which[label], input={"n": 0}, **PATIENT)
    flow.output("n", "${ops.last.output.n}")
    flow.output("label", which.label)

    def comes_to(told: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return "succeeded", {"n": 8 * (told["n"] + 1) + 1, "label": "odd" if told["n"] % 2 else "even"}

    return Flow(flow.manifest(), _any_n, comes_to)


def _circle() -> Flow:
    """Two steps that follow each other up to five times."""
    flow = Workflow("circle", inputs={"n": _INTEGER}, deadline="15m")
    turn = flow.worker("turn", "chaos.turn", input={"n": flow.given("n")}, visits=5, **PATIENT)
    rest = flow.worker("rest", "chaos.nap", input={"n": 0, "seconds": 0.1}, visits=5, **PATIENT)
    over = flow.worker("over", "chaos.add", input={"n": 0}, visits=2, **PATIENT)
    turn.on("again", rest).on("done", over).on("exhausted", over)
    rest.on("done", turn)
    flow.start(turn)
    flow.output("turns", "${ops.rest.visits}")
    return Flow(
        flow.manifest(),
        lambda rng: {"n": rng.randint(2, 7)},
        lambda told: ("succeeded", {"turns": min(told["n"] - 1, 5)}),
    )


def _ask() -> Flow:
    """It waits for a signal, and reminds whoever is to send it, up to three times."""
    flow = Workflow("ask", inputs={"n": _INTEGER}, deadline="15m")
    ready = flow.worker("ready", "chaos.add", input={"n": flow.given("n")}, **PATIENT)
    decided = flow.wait("decided", signal="decision", timeout="3s", labels=["approved", "rejected"], visits=3)
    remind = flow.worker("remind", "chaos.add", input={"n": 0}, visits=3, **PATIENT)
    pay = flow.worker("pay", "chaos.nap", input={"n": 1, "seconds": 0.2}, **PATIENT)
    tell = flow.worker("tell", "chaos.add", input={"n": 0}, visits=2, **PATIENT)
    ready.on("done", decided)
    decided.on("approved", pay).on("rejected", tell).on("timeout", remind).on("exhausted", tell)
    remind.on("done", decided)
    return Flow(flow.manifest(), _any_n, lambda told: ("succeeded", None), signal="decision")


def _rough() -> Flow:
    """A step that fails, is slow, and in the end is given up."""
    flow = Workflow("rough", inputs={"fails": _INTEGER, "slow": _INTEGER}, deadline="15m")
    retry = {
        "fail": {"attempts": 3},
        "timeout": {"attempts": 3},
        "lost": {"attempts": 60},
        "backoff": {"initial": "100ms", "factor": 2, "max": "1s"},
    }
    given = {"fails": flow.given("fails"), "slow": flow.given("slow")}
    tried = flow.worker("tried", "chaos.rough", input=given, timeout="1s", heartbeat="1s", retry=retry)
    mend = flow.worker("mend", "chaos.add", input={"n": 0}, visits=3, **PATIENT)
    tried.on("fail", mend).on("timeout", mend).on("lost", mend)
    return Flow(
        flow.manifest(),
        lambda rng: {"fails": rng.randint(0, 4), "slow": rng.randint(0, 3)},
        lambda told: ("succeeded", None),
    )


def _wrong() -> Flow:
    """It fails, and with it what is beside it is cancelled."""
    flow = Workflow("wrong", deadline="15m")
    flow.worker("fails", "chaos.rough", input={"fails": 1000, "slow": 0}, **_once(PATIENT))
    flow.worker("goes", "chaos.nap", input={"n": 0, "seconds": 15}, **PATIENT)
    return Flow(flow.manifest(), lambda rng: {}, lambda told: ("failed", None))


def _bulk() -> Flow:
    """Outputs that are too large for one commit, each."""
    flow = Workflow("bulk", inputs={"n": _INTEGER}, deadline="15m")
    both = [
        flow.worker(f"b{number}", "chaos.bulk", input={"n": flow.given("n")}, output_max="1Mi", **PATIENT)
        for number in range(2)
    ]
    flow.worker("over", "chaos.add", needs=both, input={"n": flow.given("n")}, **PATIENT)
    flow.output("n", "${ops.over.output.n}")
    return Flow(flow.manifest(), _any_n, lambda told: ("succeeded", {"n": told["n"] + 1}), share=0.3)


def _once(said: Mapping[str, Any]) -> dict[str, Any]:
    return {**said, "retry": {**said["retry"], "fail": {"attempts": 2}}}


def _any_n(rng: random.Random) -> dict[str, Any]:
    return {"n": rng.randrange(100)}
