"""A walk over the tree of an expression.

It finds the places where the outside is named (`Use`), refuses what there is no room for here, and notes what
`kit.expression_cost` needs to bound an evaluation. Types and functions are the library's to check.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, assert_never

from harpoon.kit.expression_pattern import weigh
from harpoon.kit.expression_tree import ROOTS, Fixed, Loop, Part, Tree, Turn, Use
from harpoon.kit.expression_wire import Kind, Node, Source, entries, literal

#: Loops (map, filter, all, exists, exists_one) within each other.
LOOPS_MAX: Final = 2

#: Names of types, such as in ``type(inputs.x) == string``.
_TYPES: Final = frozenset(["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"])
_CLOCK: Final = frozenset(
    f"get{part}"
    for part in (
        *("Date", "DayOfMonth", "DayOfWeek", "DayOfYear", "FullYear"),
        *("Hours", "Milliseconds", "Minutes", "Month", "Seconds"),
    )
)
#: No path of a file, of which the library would read zones too.
_ZONE: Final = re.compile(r"[A-Za-z]+(/?[A-Za-z0-9_+-]+)*|[+-]?[0-9]{2}:[0-9]{2}", re.ASCII)
#: Variables called so would stand in the way of what is put in the place of what an expression names.
_TAKEN: Final = re.compile(r"_[0-9]+", re.ASCII)
#: What gives a value as large as those it is given.
_COPYING: Final = frozenset({"_+_", "bytes", "dyn", "string"})
#: The variable of a loop that the library makes.
_RESULT: Final = "@result"


def grow(source: Source, roots: Iterable[str]) -> Tree:
    """Find what there is to know of a parsed expression, where these roots are known."""
    gardener = _Gardener(source.offsets, frozenset(roots))
    gardener.visit(source.root, {}, 0, 0)
    return gardener.tree()


class _Variable(NamedTuple):
    """The variable of a loop."""

    #: How many loops it is in the body of, where it is made.
    depth: int
    #: It is an element of what is used from outside, not of something made here.
    is_element: bool


_Variables = Mapping[str, _Variable]


class _Gardener:
    """Walks a tree once."""

    def __init__(self, offsets: Mapping[int, int], roots: frozenset[str]) -> None:
        self._offsets, self._roots = offsets, roots
        self._uses: list[Use] = []
        self._turns: list[Turn] = []
        self._loops: list[Loop] = []
        self._fixed: list[Fixed] = []
        self._longest = self._joins = 0
        #: Whether what is visited may make a list that a loop goes over.
        self._is_ranging = False
        self._words = set[str]()
        self._faults = dict[str, None]()

    def tree(self) -> Tree:
        return Tree(
            tuple(self._uses),
            tuple(self._turns),
            tuple(self._loops),
            tuple(self._fixed),
            self._longest,
            self._joins,
            frozenset(self._words),
            tuple(self._faults),
        )

    def visit(self, node: Node, variables: _Variables, depth: int, copies: int) -> None:
        """Walk a node.

        Args:
            node: The node.
            variables: Those of the loops that it is in.
            depth: How many loops it is in the body of.
            copies: How often its value is copied on its way up.
        """
        if self._is_use(node, variables, depth, copies):
            return
        match node.kind:
            case Kind.LITERAL:
                self._visit_literal(node, depth, copies)
            case Kind.NAME:
                self._visit_name(node.text(1), variables, depth, copies)
            case Kind.SELECT:
                self._words.add(node.text(2))
                self.visit(node.child(1), variables, depth, copies)
            case Kind.CALL:
                self._visit_call(node, variables, depth, copies)
            case Kind.LIST:
                self._visit_all(node.children(1), variables, depth, copies)
            case Kind.MAPPING:
                self._visit_mapping(node, variables, depth, copies)
            case Kind.LOOP:
                self._visit_loop(node, variables, depth, copies)
            case _:
                assert_never(node.kind)

    def _is_use(self, node: Node, variables: _Variables, depth: int, copies: int, *, is_range: bool = False) -> bool:
        """Note a node that names a root, fields and elements of fields of it and nothing else."""
        asked = node.text(2) if node.kind is Kind.SELECT and 3 in node.fields else None
        base, parts = _chain(node if asked is None else node.child(1))
        root = base.text(1) if base.kind is Kind.NAME else ""
        if root not in self._roots or root in variables:
            return False
        self._uses.append(Use(root, parts, asked, self._offsets[base.id], depth, copies, is_range))
        self._words.update(part for part in (*parts, asked) if isinstance(part, str))
        return True

    def _visit_literal(self, node: Node, depth: int, copies: int) -> None:
        text = literal(node)
        if isinstance(text, str):
            self._words.add(text)
            self._fixed.append(Fixed(depth, len(text.encode()) * (1 + copies)))

    def _visit_name(self, name: str, variables: _Variables, depth: int, copies: int) -> None:
        if name in variables:
            self._turns.append(Turn(depth - variables[name].depth, copies))
        elif name in ROOTS:
            self._refuse(f"there is no {name!r} here; known here: {', '.join(sorted(self._roots)) or 'nothing'}")
        elif name not in _TYPES and name != _RESULT:
            known = ", ".join(sorted({*self._roots, *variables}))
            self._refuse(f"unknown name {name!r}; known here: {known or 'nothing'}")

    def _visit_call(self, node: Node, variables: _Variables, depth: int, copies: int) -> None:
        name, given = node.text(2), node.children(3)
        if name == "_+_" and _is_result(given[0]):
            # A loop adds what its body gives to the list that it makes.
            given = given[1:]
        elif name == "_+_":
            self._joins += self._is_ranging
        if name == "matches" and given:
            self._visit_pattern(given[-1], depth)
        elif name in _CLOCK and given and not _is_zone(literal(given[0])):
            self._refuse(f"the time zone of {name}() is written out, such as 'Europe/Berlin' or '+02:00'")
        if 1 in node.fields:
            given = [node.child(1), *given]
        self._visit_all(given, variables, depth, copies + (name in _COPYING))

    def _visit_pattern(self, node: Node, depth: int) -> None:
        pattern = literal(node)
        if not isinstance(pattern, str):
            self._refuse("the pattern of matches() is written out")
        elif isinstance(weight := weigh(pattern), str):
            self._refuse(f"the pattern of matches() {weight}")
        else:
            self._fixed.append(Fixed(depth, weight))

    def _visit_mapping(self, node: Node, variables: _Variables, depth: int, copies: int) -> None:
        if 1 in node.fields:
            self._refuse(f"unknown type {node.text(1)!r}; mappings are written {{'field': value}}")
            return
        self._visit_all([part for entry in entries(node) for part in entry], variables, depth, copies)

    def _visit_loop(self, node: Node, variables: _Variables, depth: int, copies: int) -> None:
        name, start = node.text(1), node.child(4)
        if name in ROOTS or _TAKEN.fullmatch(name):
            self._refuse(f"call the variable {name!r} of a loop by another name")
        if depth == LOOPS_MAX:
            self._refuse(f"more than {LOOPS_MAX} loops (map, filter, all, exists) within each other")
            return
        base = _chain(node.child(2))[0]
        over = base.text(1) if base.kind is Kind.NAME else ""
        is_of_element = over in variables and variables[over].is_element
        self._loops.append(Loop(depth, is_list=start.kind is Kind.LIST, is_of_element=is_of_element))
        if not self._is_use(node.child(2), variables, depth, copies, is_range=True):
            was_ranging, self._is_ranging = self._is_ranging, True
            self.visit(node.child(2), variables, depth, copies)
            self._is_ranging = was_ranging
        variable = _Variable(depth + 1, is_element=is_of_element or over in self._roots)
        within = {**variables, name: variable, _RESULT: _Variable(depth + 1, is_element=False)}
        self._visit_all([node.child(5), node.child(6)], within, depth + 1, copies)

    def _visit_all(self, nodes: list[Node], variables: _Variables, depth: int, copies: int) -> None:
        self._longest = max(self._longest, len(nodes))
        for node in nodes:
            self.visit(node, variables, depth, copies)

    def _refuse(self, fault: str) -> None:
        self._faults[fault] = None


def _chain(node: Node) -> tuple[Node, tuple[Part, ...]]:
    """Return what fields and elements are taken of, and which; elements by what is written out only."""
    parts: list[Part] = []
    while True:
        if node.kind is Kind.SELECT and 3 not in node.fields:
            parts.append(node.text(2))
            node = node.child(1)
            continue
        if node.kind is Kind.CALL and node.text(2) == "_[_]":
            container, key = node.children(3)
            part = literal(key)
            if part is not None:
                parts.append(part)
                node = container
                continue
        return node, tuple(reversed(parts))


def _is_zone(value: Part | None) -> bool:
    return isinstance(value, str) and _ZONE.fullmatch(value) is not None


def _is_result(node: Node) -> bool:
    return node.kind is Kind.NAME and node.text(1) == _RESULT
