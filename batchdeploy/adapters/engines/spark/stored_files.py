"""How Spark writes the names of files, tables and columns, and the options with which it reads files."""

from __future__ import annotations

import re
from urllib.parse import unquote

from batchdeploy.core.pins import DataPin
from batchdeploy.errors import Problem, RequestError

# By the scheme of a pin, that of Hadoop's filesystem.
SCHEMES = {"s3": "s3a", "s3a": "s3a", "gs": "gs", "abfs": "abfs", "abfss": "abfss"}
BY_SPLITS = "engine.read: splits reads it"
PATTERN = re.compile(r"([\[\]{}*?\\])")


def spark_path(location: str) -> str:
    """A file's path for Spark, which would take some characters for patterns.

    Args:
        location: an absolute path, or an URI that is not escaped.

    Raises:
        RequestError: Hadoop has no filesystem for such URIs, or cannot open such a name.
    """
    name = location.rpartition("/")[2]
    if ":" in name:
        # Hadoop takes what is before it for a scheme.
        problem = Problem(location, "Spark cannot open a file whose name has a colon")
        raise RequestError("engine.read: spark", (problem,), hint=BY_SPLITS)
    if name.startswith(("_", ".")):
        problem = Problem(location, "Spark leaves out files whose names begin with _ or a dot")
        raise RequestError("engine.read: spark", (problem,), hint=BY_SPLITS)
    if location.startswith("/"):
        return "file://" + PATTERN.sub(r"\\\1", location)
    scheme, _, rest = location.partition("://")
    if scheme not in SCHEMES:
        problem = Problem("data.path", "Spark has no filesystem for such a URI", location)
        raise RequestError("engine.read: spark", (problem,), hint=BY_SPLITS)
    return f"{SCHEMES[scheme]}://" + PATTERN.sub(r"\\\1", rest)


def place(text: str) -> str:
    """A file's place without its scheme, which differs between writers, from a URI as Spark writes it."""
    return unescaped_place(unquote(text))


def unescaped_place(text: str) -> str:
    """The same from a URI that is not escaped, as those in Spark's listings."""
    return re.sub("^/+", "/", text.partition(":")[2])


def pinned_place(location: str) -> str:
    """The same of a pinned file's location, which is not escaped."""
    return location if location.startswith("/") else "/" + location.partition("://")[2]


def read_options(pin: DataPin) -> dict[str, str]:
    """The options of a read; no secret is one, because Hadoop finds credentials by its own chain.

    Raises:
        RequestError: the deployment names a profile, which Hadoop does not know.
    """
    options = {
        "mergeSchema": "false",
        "datetimeRebaseMode": "CORRECTED",
        "int96RebaseMode": "CORRECTED",
        # The setting of the session does not reach a Connect server that is running.
        "parquet.page.verify-checksum.enabled": "true",
    }
    storage = pin.storage
    if not any(file.location.startswith(("s3://", "s3a://")) for file in pin.files):
        return options
    if storage.profile is not None:
        problem = Problem("storage.profile", "is not known to Spark; set AWS_PROFILE", storage.profile)
        raise RequestError("engine.read: spark", (problem,), hint=BY_SPLITS)
    if storage.endpoint is not None:
        options["fs.s3a.endpoint"] = storage.endpoint
        options["fs.s3a.path.style.access"] = "true"
        options["fs.s3a.connection.ssl.enabled"] = str(storage.endpoint.startswith("https://")).lower()
    if storage.region is not None:
        options["fs.s3a.endpoint.region"] = storage.region
    return options


def quoted(name: str) -> str:
    """A column's name as Spark parses it."""
    return "`" + name.replace("`", "``") + "`"


def table_name(path: str) -> str:
    """A table's name of several parts as Spark parses it."""
    return ".".join(quoted(part) for part in path.split("."))
