"""Secrets of a deployment file: named by ``${NAME}``, read from the environment when used, never recorded.

Any text of the deployment file may hold ``${NAME}`` or ``${NAME:-default}``. They stand for variables of the
environment and are filled in when the file is read. In the keys that describe connections
(``model.registry``, ``model.tracking``, ``engine.remote``, ``engine.master``, ``engine.conf``), a secret
stays a name until it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from batchdeploy.core.deployment import Deployment
from batchdeploy.errors import Problem
from batchdeploy.redaction import MASK, REFERENCE, names_secret, redact_uri, secrets_in

Path = tuple[str, ...]
URIS = (("model", "registry"), ("model", "tracking"), ("engine", "remote"), ("engine", "master"))
CONF = ("engine", "conf")
PLACES = "model.registry, model.tracking, engine.remote, engine.master, engine.conf"


def without_secrets(deployment: Deployment) -> Deployment:
    """The deployment as a record holds it: each secret replaced by ``***`` or its variable's name."""
    model, engine = deployment.model, deployment.engine
    conf = None if engine.conf is None else {k: _public_setting(k, v) for k, v in engine.conf.items()}
    engine = replace(engine, conf=conf, remote=_public_uri(engine.remote), master=redact_uri(engine.master))
    model = replace(model, registry=_public_uri(model.registry), tracking=_public_uri(model.tracking))
    return replace(deployment, model=model, engine=engine)


def with_secrets(
    deployment: Deployment, environment: Mapping[str, str]
) -> tuple[Deployment, tuple[Problem, ...]]:
    """The deployment with its secrets filled in, and one problem per variable that is not set."""
    problems: list[Problem] = []

    def fill(path: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return REFERENCE.sub(lambda match: _variable_value(match, path, environment, problems), value)

    model, engine = deployment.model, deployment.engine
    conf = None if engine.conf is None else {k: fill(f"engine.conf.{k}", v) for k, v in engine.conf.items()}
    engine = replace(
        engine,
        conf=conf,
        remote=fill("engine.remote", engine.remote),
        master=fill("engine.master", engine.master),
    )
    model = replace(
        model,
        registry=fill("model.registry", model.registry),
        tracking=fill("model.tracking", model.tracking),
    )
    return replace(deployment, model=model, engine=engine), tuple(problems)


def fill_document(document: Any, environment: Mapping[str, str]) -> tuple[Any, tuple[Problem, ...]]:
    """A deployment file's values with variables filled in, except secrets; and the problems found."""
    problems: list[Problem] = []

    def fill(path: Path, text: str) -> str:
        return REFERENCE.sub(lambda match: _resolve_on_read(match, path, environment, problems), text)

    return _map_texts(document, (), fill), tuple(problems)


def literal_secrets(document: Any) -> Iterator[str]:
    """The secrets written literally in a deployment file."""
    for path, text in _secret_places(document):
        secret = path[: len(CONF)] == CONF and names_secret(path[-1])
        if secret and not REFERENCE.search(text):
            yield text
        yield from secrets_in(text)
        yield from (match[2] for match in REFERENCE.finditer(text) if match[2])


def mask_document(document: Any) -> bool:
    """Replaces each secret of a deployment file by ``***`` or a variable name; True if it replaced any."""
    changed = False
    for path, text in list(_secret_places(document)):
        holder: MutableMapping[str, Any] = document
        for key in path[:-1]:
            holder = holder[key]
        shown = _public_setting(path[-1], text) if path[: len(CONF)] == CONF else redact_uri(text)
        if shown != text:
            holder[path[-1]] = shown
            changed = True
    return changed


def _secret_places(document: Any) -> Iterator[tuple[Path, str]]:
    for path in URIS:
        section = document.get(path[0]) if isinstance(document, dict) else None
        if isinstance(section, dict) and isinstance(text := section.get(path[1]), str):
            yield path, text
    engine = document.get("engine") if isinstance(document, dict) else None
    conf = engine.get("conf") if isinstance(engine, dict) else None
    if isinstance(conf, dict):
        for key, value in conf.items():
            if not isinstance(value, (bool, dict, list)) and value is not None:
                yield (*CONF, str(key)), str(value)


def _public_uri(uri: str | None) -> str | None:
    return None if uri is None else redact_uri(uri)


def _public_setting(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    text = str(value)
    if not names_secret(name):
        return redact_uri(text) if isinstance(value, str) else value
    literal = REFERENCE.sub("", text)
    return REFERENCE.sub(r"${\1}", text) if not literal else MASK


def _map_texts(value: Any, path: Path, fill: Callable[[Path, str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _map_texts(inner, (*path, str(key)), fill) for key, inner in value.items()}
    if isinstance(value, list):
        return [_map_texts(inner, (*path, str(place)), fill) for place, inner in enumerate(value)]
    return fill(path, value) if isinstance(value, str) else value


def _resolve_on_read(match: Any, path: Path, environment: Mapping[str, str], problems: list[Problem]) -> str:
    """The value of one variable when the file is read; a secret stays a reference where one is allowed."""
    name, found = match[1], environment.get(match[1]) or match[2] or ""
    secret = names_secret(name) or any(secrets_in(found))
    if path in URIS or path[: len(CONF)] == CONF:
        if secret or names_secret(path[-1]):
            return str(match[0])
    elif secret:
        problems.append(Problem(".".join(path), f"{name} is a secret; those are taken by {PLACES}"))
        return ""
    return _variable_value(match, ".".join(path), environment, problems)


def _variable_value(match: Any, path: str, environment: Mapping[str, str], problems: list[Problem]) -> str:
    # NOTE: as in a shell, `:-` treats an empty variable as not set.
    found = environment.get(match[1]) or match[2]
    if found is None:
        problems.append(Problem(path, f"the environment variable {match[1]} is not set"))
    return found or ""
