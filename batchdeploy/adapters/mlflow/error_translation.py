"""Translates errors of MLflow and of the stores behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from batchdeploy.adapters.mlflow.registry_client import root_cause
from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.system_errors import is_local_failure
from batchdeploy.errors import BatchdeployError, MissingPackageError, Problem, RegistryError, RequestError

REACH_HINT = (
    "does it run, and can it be reached from here? MLFLOW_HTTP_REQUEST_TIMEOUT=60 waits for a slow one"
)
UNKNOWN_CODES = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@contextmanager
def translate_errors(uri: str, ref: ModelRef) -> Iterator[None]:
    """Raises RequestError for an unknown model, version or alias, and RegistryError for other failures."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except BatchdeployError:
        raise
    except ModuleNotFoundError as error:
        raise _missing_package(without_credentials(uri), error) from None
    except MlflowException as error:
        if error.error_code in UNKNOWN_CODES:
            problem = Problem(f"{ref.name} {ref.label}", "no such model, version or alias", str(error))
            raise RequestError(
                "the MLflow registry", (problem,), hint=f"registry: {without_credentials(uri)}"
            ) from None
        problem = Problem(ref.name, f"the registry failed: {root_cause(error)}")
        raise RegistryError(without_credentials(uri), (problem,), hint=REACH_HINT) from error
    except Exception as error:
        if is_local_failure(error):
            raise
        problem = Problem(ref.name, f"the registry does not answer: {root_cause(error)}")
        raise RegistryError(without_credentials(uri), (problem,), hint=REACH_HINT) from error


@contextmanager
def translate_file_errors(location: str, where: str) -> Iterator[None]:
    """Raises RegistryError for failures with the files of a registered version, which is known to exist."""
    try:
        yield
    except BatchdeployError:
        raise
    except ModuleNotFoundError as error:
        raise _missing_package(where, error) from None
    except Exception as error:
        if is_local_failure(error):
            raise
        text = f"its files cannot be read from there: {root_cause(error)}"
        hint = "were they moved or deleted, and can their store be reached from here?"
        raise RegistryError(where, (Problem(without_credentials(location), text),), hint=hint) from error


def _missing_package(where: str, error: ModuleNotFoundError) -> MissingPackageError:
    """The error for an optional dependency of MLflow: a database driver or a store's client."""
    return MissingPackageError(where, (Problem(str(error.name), "is not installed, and is needed for it"),))


def without_credentials(uri: str) -> str:
    """The URI without user and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else uri
