"""Fills an environment's values into the control folder that a serialized DAG names, for pages."""

from __future__ import annotations

from batchdeploy.airflow.task_environment import read_values, variable_name
from batchdeploy.errors import RequestError
from batchdeploy.redaction import REFERENCE


def fill_control(control: str, environment: str | None) -> str | None:
    """The control folder with the values of the environment's Airflow Variable.

    Args:
        control: as in the serialized DAG, where variables that were not set on parsing stand for themselves.
        environment: the DAG's environment, or None.

    Returns:
        None if a value is missing, so that nothing is shown.
    """
    if environment is None or not REFERENCE.search(control):
        return control
    # A page runs in the API server, where the tasks' way to Variables is closed.
    from airflow.models.variable import Variable

    name = variable_name(environment)
    try:
        values = read_values(Variable.get(name, default_var=None), name)
    except RequestError:
        return None
    if any(not values.get(match[1]) and match[2] is None for match in REFERENCE.finditer(control)):
        return None
    filled = REFERENCE.sub(lambda match: values.get(match[1]) or match[2], control)
    # A value that is an absolute path replaces the project's root before it.
    return filled if "://" in filled else filled[filled.rfind("//") + 1 :]
