"""The deployment's settings for the engine that scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """The engine that scores: ``spark`` (one machine or a cluster) or ``local`` (pyarrow, no JVM).

    Attributes:
        master: Spark's master URL.
        read: ``splits``: workers read their row groups of the pinned files themselves, by pyarrow. ``spark``:
            Spark reads the rows and hands them over, as RAPIDS and the tables of its catalog need it.
        remote: a Spark Connect server, used instead of ``master``: ``sc://host:15002``; needs no local Java.
        conf: further Spark settings, passed through; true and false may be written as such.
        versions: ``refuse`` or ``warn`` if a worker's Python or a package differs, in the first two numbers
            of its version, from those that the model was trained with.
        gpu: ``rapids`` configures Spark for NVIDIA's RAPIDS Accelerator and fails if something is missing;
            ``auto`` then runs without it; ``none``. Give its jar by ``conf: {spark.jars: ...}``.

    Spark sends batchdeploy and the model to workers on other machines. Those workers need Python with numpy,
    pandas, pyarrow, threadpoolctl and the model's own requirements, and access to the rows and to the output,
    by a common filesystem or in an object store: they read their splits and write scores themselves.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    kind: Literal["spark", "local"] = "spark"
    read: Literal["splits", "spark"] = "splits"
    master: str = "local[*]"
    remote: str | None = None
    conf: dict[str, str | bool | int | float] | None = None
    versions: Literal["refuse", "warn"] = "refuse"
    gpu: Literal["none", "rapids", "auto"] = "none"
