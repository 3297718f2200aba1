"""Removes secrets from text: every message, log line and page passes through `redact`.

Two methods work together. Known secrets (values of environment variables and of the deployment file, see
`remember`) are found anywhere in a text. `redact` also masks the places where secrets usually stand: user and
password of a URI, the value of a setting with a secret name, the signature of a pre-signed URL.
"""

from __future__ import annotations

import json
import logging
import os
import re
import traceback
from collections.abc import Iterable, Iterator
from functools import lru_cache
from html import escape
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

MASK = "***"
# Shorter values occur in ordinary messages; masking them would hide the problem itself.
SHORTEST = 8
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

_WORDS = (
    r"secret|passw(?:or)?d|passphrase|\bpwd|token|credentials?|signature|authori[sz]ation|cookie"
    r"|(?<![a-z])(?:pass|sig|sas)(?![a-z])|_key(?![a-z])"
    r"|(?:access|api|account|private|shared|encryption|signing|master|storage)[._ -]?key"
)
_NAME = re.compile(rf"(?i){_WORDS}|(?:^|[._-])key$")
# NOTE: PWD matches `pwd` but is the working directory; *_FILE and the like name where a secret is stored.
_PLACE = re.compile(r"(?i)^(?:OLD)?PWD$|_(?:FILE|PATH|DIR|HOME)$")
# NOTE: a name and a colon before several words is prose, such as "token: is required".
_VALUE = r"(?:\$\{[^}]*\}|[^\s&;,\"'<>)}\]])+"
_ASSIGNED = re.compile(
    rf"(?im)(?:{_WORDS}|(?<=[?&;])(?:key|code|auth|pw))[\w.\[\]-]{{0,60}}[\"']?\s{{0,3}}"
    r"(?:(?:=>|[:=])\s{0,3}(?P<quoted>\"(?:[^\"\\\n]|\\.){3,4000}\"|'(?:[^'\\\n]|\\.){3,4000}')"
    rf"|(?:=|%3D)\s{{0,3}}(?P<plain>{_VALUE})"
    r"|:\s{0,3}(?P<scheme>(?:bearer|basic|digest)\s+\S+)"
    rf"|:\s{{0,3}}(?P<last>{_VALUE})(?=\s*(?:$|[,;)}}\]])))"
)
_BEARER = re.compile(r"(?i)\bbearer\s+([\w.~+/=-]{8,})")
_TOKEN = re.compile(r"[^\s\"'`<>]+")
# NOTE: in these schemes the part before the @ names a container or a model, not a user.
_CONTAINERS = ("abfs:", "abfss:", "wasb:", "wasbs:")
_NO_USERS = {"models", "runs", "file", "mailto", "dbfs", "mlflow-artifacts"}
_USER = re.compile(r"(?:^|[^\w.%+-])([\w.%+-]{1,100})$")
_CONNECT = re.compile(r"sc://[^/;?\s\"'`<>]*/?;([^\s\"'`<>]*)")
# NOTE: Spark Connect sends every other parameter of its address as a header, such as x-api-key.
_CONNECT_PUBLIC = {"use_ssl", "user_id", "user_agent", "session_id", "grpc_max_message_size"}

Span = tuple[int, int]
_remembered: set[str] = set()


def names_secret(name: str) -> bool:
    """Whether a setting's or variable's name says that its value is a secret."""
    return _NAME.search(name) is not None


def remember(values: Iterable[str]) -> None:
    """Treats these values as secrets from now on, in this process."""
    _remembered.update(value for value in values if len(value) >= SHORTEST)


def redact(text: str) -> str:
    """The text with each secret replaced by ``***``; idempotent."""
    if known := _secret_pattern(tuple(os.environ.items()), frozenset(_remembered)):
        text = known.sub(MASK, text)
    return _masked(text, _spans(text))


def redact_uri(uri: str) -> str:
    """One URI with its secrets masked; unlike in `redact`, blanks and quotes in a password do not end it."""
    return _masked(uri, _uri_spans(uri))


def secrets_in(uri: str) -> Iterator[str]:
    """The secrets in a URI."""
    for start, end in _uri_spans(uri):
        found = uri[start:end]
        if not REFERENCE.search(found) and found != MASK:
            yield found
            yield found.partition(":")[2]


def _masked(text: str, spans: Iterable[Span]) -> str:
    parts, done = [], 0
    for start, end in sorted(spans):
        if start >= done and not _is_reference(text[start:end]):
            parts += [text[done:start], MASK]
        elif start >= done:
            parts.append(text[done:start] + REFERENCE.sub(r"${\1}", text[start:end]))
        done = max(done, end)
    return REFERENCE.sub(_without_default, "".join([*parts, text[done:]]))


def _is_reference(value: str) -> bool:
    """Whether the value only refers to a variable, as ``bob:${DB_PASSWORD}`` does."""
    literal = REFERENCE.sub("", value)
    return literal != value and (not literal or literal.endswith(":"))


def _without_default(match: re.Match[str]) -> str:
    return f"${{{match[1]}}}" if names_secret(match[1]) else match[0]


def _spans(text: str) -> Iterator[Span]:
    for match in _ASSIGNED.finditer(text):
        if match["quoted"] is not None:
            yield match.start("quoted") + 1, match.end("quoted") - 1
        else:
            yield next(match.span(group) for group in ("plain", "scheme", "last") if match[group] is not None)
    for match in _BEARER.finditer(text):
        yield match.span(1)
    for match in _CONNECT.finditer(text):
        yield from _connect_spans(match[1], match.start(1))
    if "@" in text:
        for match in _TOKEN.finditer(text):
            yield from _user_spans(match[0], match.start())


def _uri_spans(uri: str) -> Iterator[Span]:
    """The spans of secrets in a text that is one URI, split by the URI's own delimiters only."""
    head, mark, parameters = uri.partition("/;")
    if head.startswith("sc://"):
        yield from _user_spans(head, 0)
        yield from _connect_spans(parameters, len(head + mark))
        return
    yield from _spans(uri)
    yield from _user_spans(uri, 0)
    start = len(uri.partition("?")[0]) + 1
    for part in re.split("[&;#]", uri[start:]):
        name, equals, value = part.partition("=")
        if value and (names_secret(name) or name.lower() in ("key", "code", "auth", "pw")):
            yield start + len(name + equals), start + len(part)
        start += len(part) + 1


def _connect_spans(parameters: str, start: int) -> Iterator[Span]:
    for part in parameters.split(";"):
        name, equals, value = part.partition("=")
        if value and name.strip().lower() not in _CONNECT_PUBLIC:
            yield start + len(name + equals), start + len(part)
        start += len(part) + 1


def _user_spans(token: str, offset: int) -> Iterator[Span]:
    """The span of user and password, up to the last @: a password may hold an @ or an unencoded /."""
    last, slashes = token.rfind("@"), token.find("//")
    before = token[:slashes] if 0 <= slashes < last else None
    if before is not None and (not before or not before[-1].isalnum()):
        first = re.split("[/?#]", token[slashes + 2 :], maxsplit=1)[0]
        container = before.lower().endswith(_CONTAINERS) and ":" not in first
        if not container and ("@" in first or ":" in first):
            yield offset + slashes + 2, offset + last
        return
    colon = token.find(":")
    user = _USER.search(token[:colon]) if 0 < colon < last else None
    if user and user[1].lower() not in _NO_USERS and token[last + 1 : last + 2].isalnum():
        yield offset + colon + 1, offset + last


@lru_cache(maxsize=8)
def _secret_pattern(
    environment: tuple[tuple[str, str], ...], remembered: frozenset[str]
) -> re.Pattern[str] | None:
    values = set(remembered)
    for name, value in environment:
        if names_secret(name) and not _PLACE.search(name):
            values.add(value)
        if "://" in value or "=" in value:
            values.update(secrets_in(value))
    forms = {form for value in values if len(value) >= SHORTEST for form in _encodings(value)}
    if not forms:
        return None
    return re.compile("|".join(re.escape(form) for form in sorted(forms, key=lambda f: (-len(f), f))))


def _encodings(value: str) -> set[str]:
    """The value as URIs, JSON, HTML, YAML, a repr and a single line encode it."""
    return {
        value,
        quote(value, safe=""),
        quote(value),
        quote_plus(value),
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        escape(value),
        value.replace("'", "''"),
        " ".join(value.split()),
    }


class RedactedCause(Exception):
    """Replaces another library's exception in a chain; holds its traceback as redacted text."""


def redact_chain(error: BaseException) -> None:
    """Replaces an error's cause by a `RedactedCause` if its traceback holds a secret; drops the context."""
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    if cause is None:
        error.__context__ = None
        return
    text = "".join(traceback.format_exception(cause))
    if redact(text) != text:
        error.__cause__ = RedactedCause(redact(text))
    error.__context__ = None


class RedactedStream:
    """Wraps a text stream and redacts everything written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text without its secrets."""
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes each of the lines without its secrets."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Filter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += "\n" + "".join(traceback.format_exception(record.exc_info[1]))
        record.msg, record.args, record.exc_info = redact(text), (), None
        return True


_FILTER = _Filter()


def logger(name: str) -> logging.Logger:
    """The logger of this name; its records, including logged exceptions, are redacted."""
    found = logging.getLogger(name)
    found.addFilter(_FILTER)
    return found
