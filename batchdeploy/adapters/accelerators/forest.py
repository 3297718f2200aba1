"""Fitted trees as arrays, in a cache-friendly order."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

LESS, LESS_OR_EQUAL = 2, 3
NODE = np.dtype([("threshold", "f8"), ("left", "i4"), ("feature", "i4")])
EXTRA = np.dtype(
    [("first", "i4"), ("count", "i4"), ("nan_right", "u1"), ("other_right", "u1"), ("unused", "u1", 2)]
)
TREE = np.dtype([("root", "i4"), ("depth", "i4"), ("output", "i4"), ("categories", "i4"), ("leaf", "i4")])
SPLIT = np.dtype([("threshold", "f8"), ("tree", "i4"), ("left", "u4"), ("nan", "u4"), ("unused", "i4")])
GROUP = np.dtype([("first", "i4"), ("count", "i4"), ("bounds", "i4")])
ARRAYS = ("nodes", "extras", "sides", "values", "trees", "groups", "splits", "bounds", "leaves", "base")
# Must equal the limits in walk.c: leaves per bit set, and trees whose bit sets fit into the cache.
MAX_LEAVES, MAX_TREES = 32, 64
LINKS = ("identity", "identity_multiclass", "sigmoid", "multiclass_ova", "softmax", "exponential")


class UnsupportedForest(ValueError):
    """The trees use a feature that this module does not support."""


class Forest(NamedTuple):
    """All trees of a model.

    Attributes:
        nodes: of dtype `NODE`, tree after tree, each level by level, siblings side by side.
        extras: of dtype `EXTRA`, one for each node.
        sides: for each category of each categorical split whether it goes right.
        values: of shape (nodes, 1 or outputs): what a leaf adds.
        trees: of dtype `TREE`.
        groups: of dtype `GROUP`: trees that are evaluated together, by bit sets or by walking.
        splits: of dtype `SPLIT`, group after group, by feature and threshold.
        bounds: for each bit-set group, the start of each feature's splits, and the end of the last.
        leaves: of shape (leaves of such trees, 1 or outputs): their values, from left to right.
        base: of shape (outputs,): the initial value of the sums.
        width: features of a row.
        average: whether the sums are divided by the number of trees.
        single: whether the model itself sums in 32 bits.
        link: name of the function applied to the sums.
    """

    nodes: Any
    extras: Any
    sides: Any
    values: Any
    trees: Any
    groups: Any
    splits: Any
    bounds: Any
    leaves: Any
    base: Any
    width: int
    average: bool
    single: bool
    link: str

    def save(self, file: Path) -> None:
        """Writes the forest to one file."""
        np.savez(file, **self._asdict(), allow_pickle=False)

    @classmethod
    def load(cls, file: Path) -> Forest:
        """Reads what `save` wrote."""
        with np.load(file, allow_pickle=False) as saved:
            rest = {name: saved[name].item() for name in cls._fields if name not in ARRAYS}
            return cls(**{name: saved[name] for name in ARRAYS}, **rest)


def read_forest(model: Any) -> Forest:
    """Converts a Treelite model to a `Forest`.

    Raises:
        UnsupportedForest: the model has several targets, or an unknown comparison or link function.
    """
    header = model.get_header_accessor()
    link = str(header.get_field("postprocessor"))
    if link not in LINKS:
        raise UnsupportedForest(f"its answers are made by {link}")
    if header.get_field("num_target")[0] != 1:
        raise UnsupportedForest("it has several targets")
    if header.get_field("sigmoid_alpha")[0] != 1:
        raise UnsupportedForest("its sigmoid has a parameter")
    vectors = int(header.get_field("leaf_vector_shape")[1]) > 1
    trees, parts = np.zeros(model.num_tree, TREE), []
    root = first = 0
    for number, output in enumerate(header.get_field("class_id")):
        one = model.get_tree_accessor(number)
        part, depth = _tree(one, root, first, vectors)
        trees[number] = root, depth, output, (part[1]["count"] >= 0).any(), -1
        parts.append(part)
        root, first = root + len(part[0]), first + len(part[2])
    nodes, extras, sides, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    width = int(header.get_field("num_feature")[0])
    groups, splits, bounds, leaves = _grouped(trees, nodes, extras, width)
    return Forest(
        nodes=nodes,
        extras=extras,
        sides=sides,
        values=values,
        trees=trees,
        groups=groups,
        splits=splits,
        bounds=bounds,
        leaves=values[leaves],
        # A copy; the field itself is the model's memory.
        base=np.array(header.get_field("base_scores"), dtype="f8"),
        width=width,
        average=bool(header.get_field("average_tree_output")[0]),
        single=model.get_tree_accessor(0).get_field("leaf_value").dtype == np.float32,
        link=link,
    )


def _tree(one: Any, root: int, first: int, vectors: bool) -> tuple[tuple[Any, Any, Any, Any], int]:
    left, right = one.get_field("cleft"), one.get_field("cright")
    order, depth = _levels(left, right)
    place = np.empty(len(order), dtype="i4")
    place[order] = np.arange(len(order), dtype="i4")
    leaf, categorical = left < 0, one.get_field("node_type") == 2
    threshold = one.get_field("threshold").astype("f8")
    compares = one.get_field("cmp")[~leaf & ~categorical]
    if not np.isin(compares, (LESS, LESS_OR_EQUAL)).all():
        raise UnsupportedForest("it compares otherwise than by < and <=")
    # NOTE: v < t is v <= t', where t' is the next number below t.
    below = one.get_field("cmp") == LESS
    threshold[below] = np.nextafter(threshold[below], -np.inf)
    nodes, extras = np.zeros(len(left), NODE), np.zeros(len(left), EXTRA)
    nodes["threshold"] = np.where(leaf, np.inf, threshold)
    nodes["left"] = np.where(leaf, place, place[left]) + root
    nodes["feature"] = np.where(leaf, 0, one.get_field("split_index"))
    extras["nan_right"] = ~leaf & (one.get_field("default_left") == 0)
    extras["count"] = -1
    sides = _categories(one, np.flatnonzero(categorical), extras, first)
    return (nodes[order], extras[order], sides, _values(one, leaf, vectors)[order]), depth


def _grouped(trees: Any, nodes: Any, extras: Any, width: int) -> tuple[Any, Any, Any, Any]:
    """Groups, splits, bounds and leaf nodes; also sets the first leaf in ``trees``."""
    sizes = np.diff([*trees["root"], len(nodes)])
    small = (sizes < 2 * MAX_LEAVES) & (trees["categories"] == 0)
    groups, parts, bounds = [], [np.zeros(0, SPLIT)], [np.zeros(0, "i4")]
    leaves: list[int] = []
    for numbers in _runs(small):
        if not small[numbers[0]]:
            groups.append((numbers[0], len(numbers), -1))
            continue
        groups.append((numbers[0], len(numbers), sum(map(len, bounds))))
        where, rows = [], []
        for place, number in enumerate(numbers):
            trees["leaf"][number] = len(leaves)
            found, splits = _sets(nodes["left"], int(trees["root"][number]))
            leaves += found
            where += [node for node, _ in splits]
            rows += [(place, left) for _, left in splits]
        at, part = np.array(where, dtype="i8"), np.zeros(len(where), SPLIT)
        part["threshold"] = nodes["threshold"][at]
        part["tree"], part["left"] = np.array(rows, dtype="i8").reshape(-1, 2).T
        part["nan"] = np.where(extras["nan_right"][at], part["left"], 0)
        features = nodes["feature"][at]
        order = np.lexsort((part["threshold"], features))
        edges = np.searchsorted(features[order], np.arange(width + 1))
        bounds.append((edges + sum(map(len, parts))).astype("i4"))
        parts.append(part[order])
    return (
        np.array(groups, GROUP),
        np.concatenate(parts),
        np.concatenate(bounds),
        np.array(leaves, dtype="i8"),
    )


def _runs(kinds: Any) -> list[range]:
    """Ranges of neighbouring trees of one kind; those of True are cut to about equal parts of `MAX_TREES`."""
    edges = [0, *(np.flatnonzero(np.diff(kinds)) + 1), len(kinds)]
    cuts = []
    for first, end in pairwise(edges):
        parts = -(-(end - first) // MAX_TREES) if kinds[first] else 1
        cuts += list(np.linspace(first, end, parts + 1).astype(int)[:-1])
    return [range(int(first), int(end)) for first, end in pairwise([*cuts, len(kinds)])]


def _sets(left: Any, root: int) -> tuple[list[int], list[tuple[int, int]]]:
    """A tree's leaves from left to right, and its splits with the bit set of the leaves on their left."""
    leaves: list[int] = []
    splits = []
    # The stack returns to a split once its left subtree is done.
    ahead = [(root, -1)]
    while ahead:
        node, first = ahead.pop()
        below = int(left[node])
        if first >= 0:
            splits.append((node, (1 << len(leaves)) - (1 << first)))
        elif below == node:
            leaves.append(node)
        else:
            ahead += [(below + 1, -1), (node, len(leaves)), (below, -1)]
    return leaves, splits


def _levels(left: Any, right: Any) -> tuple[Any, int]:
    """Nodes in breadth-first order, and the depth of the tree."""
    found, level = [], np.zeros(1, dtype="i8")
    while len(level):
        found.append(level)
        inner = level[left[level] >= 0]
        level = np.column_stack([left[inner], right[inner]]).ravel()
    return np.concatenate(found), len(found) - 1


def _values(one: Any, leaf: Any, vectors: bool) -> Any:
    if not vectors:
        return np.where(leaf, one.get_field("leaf_value"), 0).astype("f8")[:, None]
    starts, ends = one.get_field("leaf_vector_begin"), one.get_field("leaf_vector_end")
    width = int((ends - starts).max())
    values = np.zeros((len(leaf), width))
    places = starts[leaf].astype("i8")[:, None] + np.arange(width)
    values[leaf] = one.get_field("leaf_vector")[places]
    return values


def _categories(one: Any, splits: Any, extras: Any, first: int) -> Any:
    listed = one.get_field("category_list")
    bounds = one.get_field("category_list_begin"), one.get_field("category_list_end")
    listed_right = one.get_field("category_list_right_child")
    sides: list[Any] = [np.zeros(0, "u1")]
    for split in splits:
        among = listed[int(bounds[0][split]) : int(bounds[1][split])]
        side = np.full(int(among.max(initial=0)) + 1, not listed_right[split], dtype="u1")
        side[among] = listed_right[split]
        extras[split] = first, len(side), extras["nan_right"][split], not listed_right[split], 0
        sides.append(side)
        first += len(side)
    return np.concatenate(sides)
