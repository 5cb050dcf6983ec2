"""Where boxes and lines are: nothing overlaps, lines lead from port to box and go down, and it does not take long."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.core.layout import Layout, Measures, Port, Size, Tie, lay_out
from harpoon.core.layout_nets import Net, bundle, put_on_rails
from harpoon.core.layout_ranks import ranks

MEASURES = Measures(between=3, beside=2, label=1)
SMALL = Size(9, 3)
#: On a machine that does other things as well.
SECONDS_MAX = 5.0


def drawn(count, ties, starts=(0,), size=SMALL):
    """Lay out boxes of one size; each tie is (box, label, box), perhaps with a group."""
    numbers, ports, told = {}, [], []
    for box, label, to, *group in sorted(ties):
        if (box, label) not in numbers:
            numbers[box, label] = len(ports)
            ports.append(Port(box, len(label)))
        told.append(Tie(numbers[box, label], to, *group))
    return lay_out([size] * count, ports, told, starts, MEASURES), ports, told


def cells(piece):
    x1, y1, x2, y2 = piece
    return {(x, y) for x in range(x1, x2 + 1) for y in range(y1, y2 + 1)}


def check(found: Layout, ports, ties):
    """Assert what must hold of every drawing; return the cells of each of its lines."""
    boxes = boxes_of(found)
    lines = [{cell for piece in strand.pieces for cell in cells(piece)} for strand in found.strands]
    for strand, line in zip(found.strands, lines, strict=True):
        assert all(x1 == x2 or y1 == y2 for x1, y1, x2, y2 in strand.pieces), "they turn at right angles"
        assert all(x1 <= x2 and y1 <= y2 for x1, y1, x2, y2 in strand.pieces)
        assert not line & boxes.keys(), "a line runs through a box"
        assert is_connected(line), "a net is in one piece"
        for port in strand.feeds:
            x, y = found.ports[port]
            assert (x, y) in line and boxes[x, y - 1] == ports[port].box, "a line begins at its port"
        for box, (x, y) in zip(strand.drops, strand.heads, strict=True):
            assert (x, y) in line and boxes[x, y + 1] == box, "a line ends at its box"
        assert all(x in range(found.size.width) and y in range(found.size.height) for x, y in line)
    ends = [(port, box, strand.is_back) for strand in found.strands for port in strand.feeds for box in strand.drops]
    assert {(port, box) for port, box, _ in ends} == {(tie.port, tie.box) for tie in ties}
    for port, box, is_back in ends:
        goes_down = found.ranks[ports[port].box] < found.ranks[box]
        assert goes_down is not is_back, "lines go down, but for those that close a cycle"
    return lines


def boxes_of(found):
    """Return the cells of all boxes, which do not even touch each other."""
    boxes, around = {}, {}
    for box, ((left, top), (width, height)) in enumerate(zip(found.boxes, found.sizes, strict=True)):
        assert left >= 0 and left + width <= found.size.width and top >= 0 and top + height <= found.size.height
        boxes |= {(x, y): box for x in range(left, left + width) for y in range(top, top + height)}
        for cell in ((x, y) for x in range(left - 1, left + width + 1) for y in range(top - 1, top + height + 1)):
            around.setdefault(cell, set()).add(box)
    assert all(around[cell] == {box} for cell, box in boxes.items()), "two boxes overlap or touch"
    return boxes


def is_connected(line):
    ahead = [next(iter(line))]
    found = set(ahead)
    while ahead:
        x, y = ahead.pop()
        more = {(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)} & line - found
        found |= more
        ahead += more
    return found == line


def test_nothing_is_drawn_of_nothing():
    assert drawn(0, [], ())[0] == Layout(size=Size(0, 0), boxes=(), sizes=(), ports=(), strands=(), ranks=())


def test_a_chain_is_straight():
    found, ports, ties = drawn(4, [(0, "done", 1), (1, "done", 2), (2, "done", 3)])
    check(found, ports, ties)
    assert found.ranks == (0, 1, 2, 3)
    assert len({x for x, _ in found.boxes}) == 1
    assert all(len(strand.pieces) == 1 for strand in found.strands)


def test_labels_have_room_beside_their_lines():
    found, ports, ties = drawn(3, [(0, "a_long_label", 1), (0, "another_long_one", 2)], size=Size(5, 3))
    check(found, ports, ties)
    left, right = sorted(found.ports)
    assert right.x - left.x > len("a_long_label") and found.sizes[0].width >= right.x + len("another_long_one")


def test_a_loop_of_one_and_a_cycle_of_two_go_back_up():
    found, ports, ties = drawn(2, [(0, "done", 1), (1, "again", 0), (0, "fail", 0)])
    check(found, ports, ties)
    # What goes back to one box is one line.
    assert [(strand.is_back, len(strand.feeds)) for strand in found.strands] == [(False, 1), (True, 2)]


def test_what_joins_is_one_line_and_what_is_of_another_group_is_not():
    ties = [(0, "done", at, -1) for at in range(1, 5)] + [(at, "done", 5, 0) for at in range(1, 5)]
    found, ports, told = drawn(6, ties)
    check(found, ports, told)
    assert [(len(strand.feeds), len(strand.drops)) for strand in found.strands] == [(1, 4), (4, 1)]
    apart, ports, told = drawn(6, [*ties, *((at, "fail", 5, -1) for at in range(1, 5))])
    check(apart, ports, told)
    assert len(apart.strands) == 3


def test_crossings_are_avoided():
    # Two pairs that were crossed in the order in which they are met.
    found, _, _ = drawn(6, [(0, "a", 1), (0, "b", 2), (1, "x", 4), (2, "x", 3), (3, "y", 5), (4, "y", 5)])
    across = [found.boxes[box].x for box in (1, 2, 4, 3)]
    assert (across[0] < across[1]) is (across[2] < across[3])


def test_two_lines_that_share_a_place_do_not_run_along_each_other():
    # Each goes to where the other comes from.
    found, ports, ties = drawn(6, [(0, "a", 2), (0, "b", 3), (1, "a", 3), (1, "b", 4), (2, "c", 5)], starts=(0, 1))
    lines = check(found, ports, ties)
    for one, line in enumerate(lines):
        for other, that in enumerate(lines):
            shared = line & that
            together = [(x, y) for x, y in shared if (x, y + 1) in shared]
            assert one == other or not together or set(found.strands[one].drops) & set(found.strands[other].drops)


GRAPHS = st.integers(1, 14).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.lists(
            st.tuples(
                st.integers(0, count - 1),
                st.sampled_from(["done", "fail", "x", "timeout"]),
                st.integers(0, count - 1),
                st.sampled_from([-1, 0]),
            ),
            max_size=30,
            unique_by=lambda tie: tie[:3],
        ),
        st.integers(0, count - 1),
    )
)


@settings(max_examples=80, deadline=None)
@given(GRAPHS)
def test_whatever_is_drawn_nothing_overlaps(graph):
    count, ties, start = graph
    found, ports, told = drawn(count, ties, (start,))
    check(found, ports, told)
    assert drawn(count, ties, (start,))[0] == found, "the same is laid out alike"
    assert drawn(count, ties[::-1], (start,))[0] == found


def test_what_is_too_long_passes_beside_all_and_shares_rails():
    nets = [Net(False, [0], [1], 1, 9), Net(False, [1], [2], 1, 3), Net(False, [2], [3], 6, 8), Net(False, [3], [4])]
    assert put_on_rails(nets, 0) == 2
    assert [net.rail for net in nets] == [1, 0, 0, -1]
    assert put_on_rails([Net(False, [0], [1], 1, 3)], 3) == 0


def test_lines_on_rails_lead_where_they_are_to(monkeypatch):
    monkeypatch.setattr("harpoon.core.layout._BENDS", 0)
    monkeypatch.setattr("harpoon.core.layout._BENDS_EACH", 0)
    ties = [(at, "done", at + 1) for at in range(9)] + [(9, "again", 2), (0, "x", 8), (7, "y", 7), (3, "z", 6)]
    found, ports, told = drawn(10, ties)
    lines = check(found, ports, told)
    right = max(x + size.width for (x, _), size in zip(found.boxes, found.sizes, strict=True))
    assert sum(max(x for x, _ in line) > right for line in lines) == 4


def test_many_lines_between_two_layers_are_given_lanes_fast():
    ties = [(at, "x", 60 + (at * 7) % 60) for at in range(60)]
    found, ports, told = drawn(120, ties, ())
    check(found, ports, told)
    dense, ports, told = drawn(24, [(at, "x", to) for at in range(12) for to in range(12, 24)], ())
    check(dense, ports, told)
    assert ranks([[1], [0]], ()) == ([0, 1], {(1, 0)})
    assert [net.drops for net in bundle([Port(0, 1)], [Tie(0, 1), Tie(0, 1, 3)], [0, 1], set())] == [[1]]


SIZE = 10_000
LARGE = {
    "chain": [(at, "done", at + 1) for at in range(SIZE - 1)],
    "chain that may fail": [
        (at, label, to) for at in range(SIZE - 2) for label, to in (("done", at + 1), ("fail", SIZE - 1))
    ],
    "wide": [edge for at in range(1, SIZE - 1) for edge in ((0, "done", at), (at, "done", SIZE - 1))],
    "far": [(at * 7919 % max(1, to), f"l{at}", to) for to in range(1, SIZE) for at in range(3)],
    "nothing leads anywhere": [],
}


@pytest.mark.parametrize("name", LARGE)
def test_ten_thousand_boxes_are_laid_out_in_no_time(name):
    began = time.process_time()
    found, _, _ = drawn(SIZE, LARGE[name])
    assert time.process_time() - began < SECONDS_MAX
    assert len(set(found.boxes)) == SIZE
    # As many pieces as there are lines and bends, and no more.
    assert sum(len(strand.pieces) for strand in found.strands) < 20 * SIZE
