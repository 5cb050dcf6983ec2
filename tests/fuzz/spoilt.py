"""Good inputs, spoilt a little: what almost is right finds more than noise does."""

import json
from typing import Any

from hypothesis import strategies as st

#: Anything that JSON can say, and some that only lax readers take.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
#: Bytes that mean something to one reader or another.
SPICE = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\u0000", b"\\ud800", b"\x00", b"\xff", b"\xc0\xaf", b"\n"),
    *(b"1e999", b"-0", b"NaN", b"9" * 19, b"9" * 25, b"9" * 5000, b"null", b"true", b" ", b"\xef\xbb\xbf", b"[" * 40),
    *("\u00b2".encode(), "\u0663".encode(), b"../", b"$", b"${", b"'", b"&a ", b"*a", b"!!", b"- ", b"? "),
)
ZOO = st.sampled_from(SPICE) | st.binary(max_size=4)


@st.composite
def spoilt_bytes(draw: st.DrawFn, *good: bytes) -> bytes:
    """One of ``good`` with up to four pieces of it cut out, doubled, or replaced by something else."""
    data = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from([b"", data[begin:end] * 2]) | ZOO)
        data = data[:begin] + piece + data[end:]
    return data


@st.composite
def spoilt_json(draw: st.DrawFn, *good: Any) -> Any:
    """One of ``good`` with anything in place of up to three of its values; some are left out or have company."""
    root = {"": json.loads(json.dumps(draw(st.sampled_from(good))))}
    for _ in range(draw(st.integers(1, 3))):
        container: Any = root
        key: Any = ""
        for _ in range(draw(st.integers(0, 6))):
            inner = container[key]
            if not isinstance(inner, dict | list) or not inner:
                break
            container = inner
            key = draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        match draw(st.integers(0, 3)):
            case 0 if isinstance(container, dict) and container is not root:
                del container[key]
            case 1 if isinstance(container, dict) and container is not root:
                container[draw(st.text(max_size=6))] = draw(ANYTHING)
            case _:
                container[key] = draw(ANYTHING)
    return root[""]


def texts(*near: str) -> st.SearchStrategy[str]:
    """Any text, and texts that are nearly right."""
    close = spoilt_bytes(*[text.encode() for text in near]).map(lambda data: data.decode(errors="surrogateescape"))
    return st.text() | close | st.sampled_from(near)
