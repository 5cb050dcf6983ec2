"""The triggers of a run, worked out from its log plainly: by looking at all of them for each event."""

from harpoon.core.event import Closed, Ended, Moved, RetriedFrom, SetTo, Started
from harpoon.core.graph import home_of
from harpoon.model.label import CANCELLED

ITEM = ("item", None)


class Replay:
    """What is pending, open and occurred after each event; it takes the word of the log for nothing but what was closed.

    What opens a visit is written ``("start", op)``, ``("trigger", index)`` or ``("repair", op)``.
    """

    def __init__(self, graph, graphs=()):
        self.graph = graph
        self.graphs = graphs
        self.pending = []
        self.fired = set()
        self.open = {}
        self.latest = {}
        self.occurred = {trigger.index: set() for trigger in graph.triggers}
        self.cut, self.left = {}, []
        self.is_over = False

    def take(self, log):
        for event in log:
            if isinstance(event, Started):
                self.pending = [("start", op) for op in self.graph.starts]
            elif isinstance(event, Closed):
                if event.retry_ms is None:
                    self.close((event.op, event.visit), event.label)
            elif isinstance(event, Ended):
                self.end()
            elif isinstance(event, RetriedFrom):
                self.retry_from(event)
            elif isinstance(event, SetTo):
                self.set_to(event)
            elif isinstance(event, Moved):
                self.move(self.graphs[event.generation])
            for one in getattr(event, "opened", ()):
                if home_of(one.op) is not None:
                    self.open[one.op, one.visit] = ITEM
                    continue
                origin = self.pending.pop(0)
                assert (origin[1] if origin[0] == "trigger" else None) == one.trigger
                assert self.opens(origin) == one.op
                self.open[one.op, one.visit] = origin
                self.fired.add(one.op)
        return self

    def opens(self, origin):
        kind, what = origin
        return self.graph.triggers[what].op if kind == "trigger" else what

    def owner(self, key):
        """The visit whose item a visit is, or itself."""
        return key if home_of(key[0]) is None else self.graph.nodes[key[0]].group_of(key[1])[0]

    def close(self, key, label):
        for one in [one for one in self.open if self.owner(one) == key]:
            del self.open[one]
        self.open.pop(key, None)
        self.latest[key[0]] = label
        for trigger in self.graph.triggers:
            if (key[0], label) in trigger.members:
                self.occurred[trigger.index].add((key[0], label))
                if self.occurred[trigger.index] == set(trigger.members):
                    self.pending.append(("trigger", trigger.index))
                    self.occurred[trigger.index] = set()

    def end(self):
        self.cut = {key: origin for key, origin in self.open.items() if origin != ITEM}
        self.left, self.pending = self.pending, []
        for op, _ in self.open:
            self.latest[op] = CANCELLED
        self.open.clear()
        self.is_over = True

    def begin_again(self, but=None):
        if self.is_over:
            self.pending = [origin for key, origin in self.cut.items() if key != but] + self.left
            self.cut, self.left, self.is_over = {}, [], False

    def part(self, op):
        found, before = {op}, set()
        while found != before:
            before = set(found)
            found |= {one.op for one in self.graph.triggers if any(member.op in before for member in one.members)}
        return found

    def retry_from(self, event):
        self.begin_again()
        part = self.part(event.op)

        def is_led_to(origin):
            kind, what = origin
            op = self.opens(origin)
            within = kind == "trigger" and any(member.op in part for member in self.graph.triggers[what].members)
            return op == event.op or (op in part and (within or kind == "repair"))

        owners = {key for key, origin in self.open.items() if origin != ITEM and is_led_to(origin)}
        cancelled = [key for key in self.open if self.owner(key) in owners]
        assert [(op, visit) for op, visit, _ in event.cancelled] == cancelled
        for key in cancelled:
            del self.open[key]
            self.latest[key[0]] = CANCELLED
        self.pending = [("repair", event.op), *[one for one in self.pending if not is_led_to(one)]]
        for trigger in self.graph.triggers:
            inside = [member for member in trigger.members if member.op in part]
            if trigger.op in part and inside:
                outside = {tuple(member) for member in trigger.members if member.op not in part}
                self.occurred[trigger.index] = {one for one in outside if self.latest.get(one[0]) == one[1]}

    def set_to(self, event):
        key = (event.op, event.visit)
        assert (key in self.open) is (event.attempt > 0)
        items = [one for one in self.open if one != key and self.owner(one) == key]
        assert [(op, visit) for op, visit, _ in event.cancelled] == items
        self.begin_again(but=key)
        self.close(key, event.label)

    def move(self, new):
        old, self.graph = self.graph, new

        def same(trigger, graph):
            """The trigger of another form that is the same; the last of several."""
            mine = [one for one in graph.triggers if one.op == trigger.op and set(one.members) == set(trigger.members)]
            return mine[-1] if mine else None

        def over(origin):
            kind, what = origin
            if kind == "trigger":
                found = same(old.triggers[what], new)
                return ("repair", old.triggers[what].op) if found is None else ("trigger", found.index)
            return ("repair", what) if kind == "start" and what not in new.starts else origin

        self.pending = [over(origin) for origin in self.pending]
        self.open = {key: origin if origin == ITEM else over(origin) for key, origin in self.open.items()}
        lost = {}
        for trigger in old.triggers:
            if same(trigger, new) is None:
                lost.setdefault(trigger.op, set()).update(self.occurred[trigger.index])
        before, self.occurred = self.occurred, {}
        for trigger in new.triggers:
            known = same(trigger, old)
            members = {tuple(member) for member in trigger.members}
            self.occurred[trigger.index] = set()
            if known is not None:
                self.occurred[trigger.index] = set(before[known.index]) if len(members) > 1 else set()
                continue
            has = lost.get(trigger.op, set()) & members
            is_moment = bool(has)
            if trigger.op not in self.fired and len(members) > 1:
                has |= {one for one in members if self.latest.get(one[0]) == one[1]}
            if has != members:
                self.occurred[trigger.index] = has
            elif is_moment and same(trigger, new) is trigger:
                self.pending.append(("trigger", trigger.index))


def pending_of(run):
    """What is pending in a run, as a replay writes it."""
    return [_written(run.graph, code) for code in run.pending]


def _written(graph, code):
    if code >= 0:
        return ("trigger", code)
    return ("start" if ~code < len(graph.starts) else "repair", graph.opens(code))
