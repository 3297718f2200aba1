"""Compares the package versions that a model was trained with to those of the workers."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from batchdeploy.errors import Problem

# The packages that every worker imports, whatever the model's own requirements name.
REQUIRED_PACKAGES = ("numpy", "pandas", "pyarrow", "threadpoolctl")

# Suffixes of packages that provide the same module, such as xgboost-cpu.
VARIANT = re.compile(r"[-_](?:binary|cpu|cu\d+|cuda\d*|gpu|headless|nightly|rocm|skinny)$")
# The libraries whose versions a manifest records, because scores depend on them.
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
    """One problem per worker and required package that is missing there.

    Args:
        workers: name of each worker and its packages with their versions.
    """
    for worker, found in workers:
        for name in REQUIRED_PACKAGES:
            if name not in found:
                yield Problem(worker, f"lacks {name}, which every worker needs")


def version_mismatches(
    wanted: Mapping[str, str], workers: Sequence[tuple[str, Mapping[str, str]]]
) -> Iterator[Problem]:
    """One problem per worker and package whose version differs in its first two numbers.

    Args:
        wanted: package (and ``python``) to the version that the model was made with.
        workers: name of each worker and its packages with their versions.
    """
    for worker, found in workers:
        for name, version in wanted.items():
            have = found.get(name)
            if have is None:
                yield Problem(worker, f"lacks {name}; the model was made with {version}")
            elif have.split(".")[:2] != version.split(".")[:2]:
                yield Problem(worker, f"has another {name}; the model was made with {version}", have)


def versions_here(names: Sequence[str]) -> dict[str, str]:
    """The installed versions in this process; packages that are not installed are left out.

    A package also counts as installed if another provides its module, as xgboost-cpu provides xgboost.
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
