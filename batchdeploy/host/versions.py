"""What a model was made with, against what it would run on."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from batchdeploy.errors import Problem

# NOTE: what a worker imports whatever the model is; the model's own requirements may name none of it.
REQUIRED_PACKAGES = ("numpy", "pandas", "pyarrow", "threadpoolctl")

# NOTE: what the names of packages end in that bring one and the same module.
VARIANT = re.compile(r"[-_](?:binary|cpu|cu\d+|cuda\d*|gpu|headless|nightly|rocm|skinny)$")
# NOTE: the libraries that a score depends on.
RECORDED = (
    "python",
    "batchdeploy",
    "pyspark",
    "mlflow",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "numpy",
    "great-expectations",
)


def missing_packages(workers: Sequence[tuple[str, Mapping[str, str]]]) -> Iterator[Problem]:
    """What each worker would need to score at all, and does not have.

    Args:
        workers: name of each worker and what it has.
    """
    for worker, found in workers:
        for name in REQUIRED_PACKAGES:
            if name not in found:
                yield Problem(worker, f"lacks {name}, which every worker needs")


def version_mismatches(
    wanted: Mapping[str, str], workers: Sequence[tuple[str, Mapping[str, str]]]
) -> Iterator[Problem]:
    """What differs, for each worker, in the first two numbers of a version: the rest are repairs.

    Args:
        wanted: package (and ``python``) to the version that the model was made with.
        workers: name of each worker and what it has.
    """
    for worker, found in workers:
        for name, version in wanted.items():
            have = found.get(name)
            if have is None:
                yield Problem(worker, f"lacks {name}; the model was made with {version}")
            elif have.split(".")[:2] != version.split(".")[:2]:
                yield Problem(worker, f"has another {name}; the model was made with {version}", have)


def versions_here(names: Sequence[str]) -> dict[str, str]:
    """The versions in this process; a package that is not there is left out.

    A package is also there where another brings the module of its name, as xgboost-cpu brings xgboost.
    """
    found = {"python": platform.python_version()} if "python" in names else {}
    absent = []
    for name in set(names) - {"python"}:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
    bringers = metadata.packages_distributions() if absent else {}
    for name in absent:
        module = VARIANT.sub("", name.lower()).replace("-", "_")
        for other in bringers.get(module, ())[:1]:
            found[name] = metadata.version(other)
    return {name: found[name] for name in names if name in found}
