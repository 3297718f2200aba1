"""What a task's process gets from Airflow before its step runs: an environment's values, and credentials.

Both are read when the task runs and not when the DAG file is parsed, which may not query Airflow's database.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchdeploy.airflow.deployment_source import check_environment
from batchdeploy.core.deployment import Deployment
from batchdeploy.documents import read_deployment
from batchdeploy.documents.yaml_files import deployment_references
from batchdeploy.errors import OutsideError, Problem, RequestError
from batchdeploy.redaction import names_secret, remember, secrets_in


@contextmanager
def task_environment(file: Path, environment: str | None) -> Iterator[Deployment]:
    """Sets the variables of a deployment in this process, until the end of the block.

    Args:
        file: the deployment's file.
        environment: the name of the environment, or None.

    Returns:
        The deployment with the environment's values filled in.

    Raises:
        RequestError: the Airflow Variable or the Connection is missing or wrong.
        OutsideError: Airflow, or its secrets backend, cannot be asked for them.
    """
    filled = {} if environment is None else _environment_values(file, environment)
    with _variables(filled):
        spec = read_deployment(file)
        with _variables(_credentials(spec.storage.connection)):
            yield spec


def variable_name(environment: str) -> str:
    """The name of the Airflow Variable that holds an environment's values."""
    return f"batchdeploy_{environment}"


def read_values(text: str | None, name: str) -> dict[str, str]:
    """The values in an Airflow Variable.

    Args:
        text: the Variable's text, None if there is no such Variable.
        name: the Variable's name.

    Raises:
        RequestError: it is missing, or no JSON object of names to texts, numbers or booleans.
    """
    where = f"the Airflow Variable {name}"
    if text is None:
        hint = f"""airflow variables set {name} '{{"NAME": "value"}}'"""
        raise RequestError(where, (Problem(name, "there is no such Variable"),), hint=hint)
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise RequestError(where, (Problem(name, "must hold a JSON object of names to values"),))
    wrong = tuple(key for key, value in values.items() if not isinstance(value, str | int | float))
    if wrong:
        problems = tuple(Problem(key, "must be a text, a number or a boolean") for key in wrong)
        raise RequestError(where, problems)
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def _environment_values(file: Path, environment: str) -> dict[str, str]:
    """The environment's values of the deployment's variables, except those that this process has."""
    from airflow.sdk import Variable

    name = variable_name(check_environment(environment))
    with _asking_airflow(f"the Airflow Variable {name}"):
        text = Variable.get(name, default=None)
    values = read_values(text, name)
    references = {pair for pairs in deployment_references(file).values() for pair in pairs}
    unset = {variable for variable, _ in references if not os.environ.get(variable)}
    if missing := sorted(unset - set(values) & {n for n, default in references if default is None}):
        what = "is neither in it nor in the worker's environment"
        raise RequestError(f"the Airflow Variable {name}", tuple(Problem(n, what) for n in missing))
    # Only variables that the file names: who may edit Airflow's Variables must not set PATH.
    found = {variable: values[variable] for variable in sorted(unset & set(values))}
    _remember_secrets(found)
    return found


def _credentials(connection: str | None) -> dict[str, str | None]:
    if connection is None:
        return {}
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    from batchdeploy.airflow.connection_fields import connection_variables

    try:
        with _asking_airflow(f"the Airflow connection {connection}"):
            found = Connection.get(connection)
    except AirflowNotFoundException:
        problem = Problem("storage.connection", "Airflow has no such connection", connection)
        hint = f"airflow connections add {connection}, or the variable AIRFLOW_CONN_{connection.upper()}"
        raise RequestError("the deployment", (problem,), hint=hint) from None
    variables, dropped = connection_variables(found)
    _remember_secrets(variables)
    return {**variables, **dict.fromkeys(dropped)}


def _remember_secrets(variables: Mapping[str, str]) -> None:
    """Has all messages redacted that hold one of these, also after the variables are gone again."""
    remember(value for name, value in variables.items() if names_secret(name))
    remember(secret for value in variables.values() for secret in secrets_in(value))
    try:
        key: Any = json.loads(variables.get("GOOGLE_SERVICE_ACCOUNT_KEY", "{}"))
    except ValueError:
        return
    if isinstance(key, dict):
        remember(str(value) for name, value in key.items() if names_secret(name))


@contextmanager
def _asking_airflow(what: str) -> Iterator[None]:
    """Translates Airflow's failures to answer, whose messages may hold addresses of its parts."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        yield
    except AirflowNotFoundException:
        raise
    except Exception as error:  # noqa: BLE001
        problem = Problem(what, "cannot be read from Airflow", type(error).__name__)
        raise OutsideError("Airflow", (problem,), hint="a retry may help") from None


@contextmanager
def _variables(values: Mapping[str, str | None]) -> Iterator[None]:
    """Sets variables of this process, or unsets those that are None, until the end of the block."""
    before = {name: os.environ.get(name) for name in values}
    try:
        _set(values)
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
