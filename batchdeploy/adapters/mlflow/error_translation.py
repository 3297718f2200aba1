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
CREDENTIALS_HINT = (
    "set DATABRICKS_HOST and DATABRICKS_TOKEN, or name a profile of ~/.databrickscfg: databricks-uc://PROFILE"
)
PERMISSION_HINT = (
    "is the token still valid? Unity Catalog wants USE CATALOG, USE SCHEMA and EXECUTE on the model"
)
UNKNOWN_CODES = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
# NOTE: Unity Catalog has codes of its own, such as SCHEMA_DOES_NOT_EXIST, which MLflow calls internal errors.
UNKNOWN_ENDING = "_DOES_NOT_EXIST"
DENIED_CODES = ("PERMISSION_DENIED", "UNAUTHENTICATED")


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
        code = _code(error)
        if code in UNKNOWN_CODES or code.endswith(UNKNOWN_ENDING):
            problem = Problem(f"{ref.name} {ref.label}", "no such model, version or alias", str(error))
            raise RequestError(
                "the MLflow registry", (problem,), hint=f"registry: {without_credentials(uri)}"
            ) from None
        raise _failure(uri, ref, code, error) from error
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


def _code(error: Exception) -> str:
    """The error code that a server gave, or MLflow's own."""
    given = getattr(error, "json", None)
    return str((given or {}).get("error_code") or getattr(error, "error_code", ""))


def _failure(uri: str, ref: ModelRef, code: str, error: Exception) -> RegistryError:
    if uri.startswith("databricks") and "credential configuration failed" in str(error):
        # MLflow's message is a page on how to configure Databricks.
        return RegistryError(
            uri, (Problem(ref.name, "found no Databricks credentials"),), hint=CREDENTIALS_HINT
        )
    databricks = uri.startswith("databricks") and code in DENIED_CODES
    problem = Problem(ref.name, f"the registry failed: {root_cause(error)}")
    hint = PERMISSION_HINT if databricks else REACH_HINT
    return RegistryError(without_credentials(uri), (problem,), hint=hint)


def _missing_package(where: str, error: ModuleNotFoundError) -> MissingPackageError:
    """The error for an optional dependency of MLflow: a database driver or a store's client."""
    return MissingPackageError(where, (Problem(str(error.name), "is not installed, and is needed for it"),))


def without_credentials(uri: str) -> str:
    """The URI without user and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else uri
