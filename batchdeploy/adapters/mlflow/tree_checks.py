"""Validates scikit-learn trees before they predict, because native code follows their nodes unchecked.

A child out of range, a loop, or a feature index out of range would make it read foreign memory or run for
ever. Loading a tree is safe: it only copies the arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from batchdeploy.errors import Problem

TREE = ("sklearn.tree._tree", "Tree")
HISTOGRAM_TREE = ("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor")
ENSEMBLES = "sklearn.ensemble."


def tree_problems(model: Any) -> Iterator[Problem]:
    """Yields one problem for each invalid tree in a loaded model.

    Args:
        model: the model; its attributes and containers are searched for trees.
    """
    seen: dict[int, Any] = {}
    waiting: list[tuple[Any, str, int | None]] = [(model, "model", None)]
    while waiting:
        one, path, features = waiting.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        kind = (type(one).__module__, type(one).__name__)
        if kind == TREE:
            problem = _tree_problem(path, _nodes(one), _minimum(one.n_features, features))
        elif kind == HISTOGRAM_TREE:
            problem = _tree_problem(path, _histogram_nodes(one), features)
        else:
            waiting += _children(one, path, features)
            continue
        if problem is not None:
            yield problem


def _children(one: Any, path: str, features: int | None) -> list[tuple[Any, str, int | None]]:
    """An object's parts as (part, path, number of features that its trees may use)."""
    if isinstance(one, dict):
        return [(value, f"{path}[{key!r}]", features) for key, value in one.items()]
    if isinstance(one, (list, tuple)):
        return [(value, f"{path}[{place}]", features) for place, value in enumerate(one)]
    if getattr(getattr(one, "dtype", None), "hasobject", False):
        return [(value, f"{path}[{place}]", features) for place, value in enumerate(one.ravel().tolist())]
    held = getattr(one, "__dict__", None)
    if not isinstance(held, dict) or isinstance(one, type):
        return []
    own = held.get("n_features_in_")
    own = own if type(own) is int else None
    # An ensemble passes its own rows to its trees; any other step may have changed the number of columns.
    outer = _minimum(own, features) if "tree_" in held else own
    inner = outer if "tree_" in held or type(one).__module__.startswith(ENSEMBLES) else None
    return [(value, f"{path}.{name}", inner) for name, value in held.items()]


Nodes = tuple[Any, Any, Any, Any, int]


def _nodes(tree: Any) -> Nodes | None:
    """Left children, right children, features, leaf mask and number of nodes."""
    if not 0 < tree.node_count <= tree.capacity:
        return None
    left, right = tree.children_left, tree.children_right
    return left, right, tree.feature, left == -1, tree.node_count


def _histogram_nodes(tree: Any) -> Nodes | None:
    nodes = tree.nodes
    if not len(nodes):
        return None
    categorical = (nodes["is_categorical"] != 0) & (nodes["is_leaf"] == 0)
    for bits in (tree.raw_left_cat_bitsets, tree.binned_left_cat_bitsets):
        if (nodes["bitset_idx"][categorical] >= len(bits)).any() or bits.shape[1:] != (8,):
            return None
    left, right = nodes["left"].astype("i8"), nodes["right"].astype("i8")
    return left, right, nodes["feature_idx"], nodes["is_leaf"] != 0, len(nodes)


def _tree_problem(path: str, found: Nodes | None, features: int | None) -> Problem | None:
    import numpy as np

    if found is None:
        return Problem(path, "is a tree whose nodes do not fit its arrays")
    left, right, feature, leaves, count = found
    inner, number = ~leaves, np.arange(count)
    # Tree builders write a node before its children, so child > node rules out loops.
    for name, child in (("left", left), ("right", right)):
        wrong = inner & ((child <= number) | (child >= count))
        if wrong.any():
            node = int(np.flatnonzero(wrong)[0])
            text = f"is a tree of {count} nodes whose node {node} has a {name} child that is none"
            return Problem(path, text, str(int(child[node])))
    wrong = inner & ((feature < 0) | (feature >= (np.iinfo("i8").max if features is None else features)))
    if wrong.any():
        node = int(np.flatnonzero(wrong)[0])
        return Problem(path, f"is a tree over {features} features that uses another", str(feature[node]))
    return None


def _minimum(*numbers: Any) -> int | None:
    known: Iterable[int] = [int(number) for number in numbers if number is not None]
    return min(known, default=None)
