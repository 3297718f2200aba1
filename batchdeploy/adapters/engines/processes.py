"""Runs work in processes of this machine, which stay for more work and keep their models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from batchdeploy.core.work import Split
from batchdeploy.errors import BatchdeployError, EngineError, Problem
from batchdeploy.host.process_session import end_with_parent

# As many as Spark gives a task by default.
MOST_TRIES = 4
Result = TypeVar("Result")
Work = Callable[[Split], Result]


def usable_cores() -> int:
    """The cores that this process may use, by its affinity and its cgroup's quota."""
    import joblib

    return int(joblib.cpu_count())


def map_in_processes(
    run: Callable[[Work[Result], Split], Result],
    work: Work[Result],
    splits: Sequence[Split],
    *,
    processes: int,
) -> Iterator[Result]:
    """Yields the result of each split, in any order.

    A process that dies takes the splits in work with it; they are run again in new processes, until
    `MOST_TRIES` times in a row none is finished.

    Args:
        run: runs the work on a split.
        work: what is done; pickled, even if it is no function of a module.
        splits: what it is done with.
        processes: how many work at the same time.

    Raises:
        EngineError: the processes died again and again.
        BatchdeployError: the error that the work raised.
    """
    left = {split.index: split for split in splits}
    tries = MOST_TRIES
    while left:
        try:
            for result in _results(run, work, tuple(left.values()), processes):
                if isinstance(result, BatchdeployError):
                    raise result
                del left[result.index]
                tries = MOST_TRIES
                yield result
        except BrokenProcessPool as error:
            tries -= 1
            if not tries:
                problem = Problem(next(iter(left.values())).path, "a worker's process died while it scored")
                hint = "the model crashed it, or it took more memory than there is"
                raise EngineError("this machine", (problem,), hint=hint) from error


def stop_processes() -> None:
    """Ends the processes that wait for work."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _results(run: Any, work: Work[Any], splits: Sequence[Split], processes: int) -> Iterator[Any]:
    import joblib

    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        pool = joblib.Parallel(
            n_jobs=processes, batch_size=1, return_as="generator_unordered", max_nbytes=None
        )
        yield from pool(joblib.delayed(_in_process)(run, work, split, os.getpid()) for split in splits)


def _in_process(run: Any, work: Work[Result], split: Split, parent: int) -> Result | BatchdeployError:
    # NOTE: in a daemonic process joblib starts no others, and runs the work in this one.
    if os.getpid() != parent:
        end_with_parent(parent)
    try:
        result: Result = run(work, split)
    except BatchdeployError as error:
        return error
    return result
