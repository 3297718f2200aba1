"""Strategies for input that nobody would write on purpose, and some that somebody would."""

from __future__ import annotations

import copy
from typing import Any

import hypothesis.strategies as st

SCALARS = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**53 + 1,
    2**63,
    -(2**63) - 1,
    10**400,
    0.5,
    -0.0,
    1e300,
    1e-320,
    float("inf"),
    float("-inf"),
    float("nan"),
    "",
    " ",
    "champion",
    "model",
    "date",
    "age",
    "block",
    "..",
    "../../etc/passwd",
    "/",
    "/dev/null",
    "~",
    "a/b",
    "file:///etc/passwd",
    "s3://me:secret@host/x",
    "models:/m/1",
    "a\x00b",
    "line\nbreak",
    "\ud800",
    "🚀" * 20,
    "x" * 5_000,
    "{{ 1 + 1 }}",
    "${HOME}",
    "2013-02-30",
    "0 6 * * *",
    "99 99 * * *",
    "Europe/Zurich",
    "NO",
    "010",
    "1e999",
    "!!python/object/apply:os.system [id]",
    "os.system",
    "expect_column_values_to_not_be_null",
    "expect_table_row_count_to_be_between",
]
RARE = ["double", "rename", "nest", "graft"]
scalars = st.sampled_from(SCALARS) | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "type", "path", "column", "kwargs", "x", ""]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every node of a document below its root."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = []
    for key, value in inner:
        found += [(*path, key), *_places(value, (*path, key))]
    return found


def _like(value: Any) -> st.SearchStrategy[Any]:
    """Another value of the same kind, which a reader may well take."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.sampled_from([value + 1, -value, 0, value * 1000]) | st.integers(-10, 10_000)
    if isinstance(value, float):
        return st.floats(-2, 2) | st.floats()
    if isinstance(value, str):
        return st.sampled_from([value + "2", value[:-1], value.upper(), "x", "date"])
    return st.just(type(value)())


@st.composite
def mutated(draw: st.DrawFn, documents: st.SearchStrategy[Any], *, most: int = 4) -> Any:
    """A document in which up to ``most`` nodes were replaced, removed, doubled, renamed or exchanged."""
    document = copy.deepcopy(draw(documents))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, most]))):
        places = _places(document)
        if not places:
            return draw(values)
        *path, last = draw(st.sampled_from(places))
        parent = document
        for key in path:
            parent = parent[key]
        act = draw(st.sampled_from(["like", "like", "like", "replace", "replace", "remove", *RARE]))
        if act == "like":
            parent[last] = draw(_like(parent[last]))
        elif act == "replace":
            parent[last] = draw(values)
        elif act == "remove":
            del parent[last]
        elif act == "double" and isinstance(parent, list):
            parent.insert(last, copy.deepcopy(parent[last]))
        elif act == "rename" and isinstance(parent, dict):
            parent[draw(st.text(max_size=8) | st.sampled_from([p[-1] for p in places]).map(str))] = (
                parent.pop(last)
            )
        elif act == "nest":
            parent[last] = draw(st.sampled_from([[parent[last]], {"x": parent[last]}]))
        else:
            *other, end = draw(st.sampled_from(places))
            node = document
            for key in other:
                node = node[key]
            parent[last] = copy.deepcopy(node[end])
    return document


@st.composite
def mangled(draw: st.DrawFn, texts: st.SearchStrategy[bytes], *, tail: int | None = None) -> bytes:
    """Bytes with some of them flipped, cut, doubled or put in.

    Args:
        draw: hypothesis'.
        texts: what is mangled.
        tail: only so many of the last bytes are; for formats that keep their sense there.
    """
    content = bytearray(draw(texts))
    for _ in range(draw(st.integers(1, 6))):
        if not content:
            break
        first = 0 if tail is None else max(0, len(content) - tail)
        place = draw(st.integers(first, len(content) - 1))
        act = draw(st.sampled_from(["flip", "set", "cut", "put", "end", "double"]))
        size = draw(st.integers(1, 16))
        if act == "flip":
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif act == "set":
            content[place] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        elif act == "cut":
            del content[place : place + size]
        elif act == "put":
            content[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif act == "end":
            del content[max(place, len(content) - 64) :]
        else:
            content[place:place] = content[place : place + size]
    return bytes(content)


@st.composite
def poked(draw: st.DrawFn, texts: st.SearchStrategy[bytes], *, tail: int, spared: int) -> bytes:
    """Bytes of which a few were changed in place, among the last ``tail`` but not the last ``spared``."""
    content = bytearray(draw(texts))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(max(0, len(content) - tail), len(content) - spared - 1))
        content[place] = draw(st.sampled_from([content[place] ^ 1, (content[place] + 1) % 256, 0, 255]))
    return bytes(content)
