"""Opens Iceberg tables by pyiceberg's catalogs, or by their metadata files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import DataError, MissingPackageError, Problem, SourceError
from batchdeploy.storage.object_store import profile_credentials

# The packages of catalogs' clients that raise exceptions of their own.
CLIENTS = {"botocore", "google", "hive_metastore", "thrift"}
CONFIGURED = "catalogs are configured by ~/.pyiceberg.yaml or PYICEBERG_CATALOG__NAME__URI"


def load_table(path: str, storage: StorageSpec) -> Any:
    """The table as pyiceberg has it.

    Args:
        path: ``CATALOG.NAMESPACE.TABLE``, or a table's folder or ``*.metadata.json``, absolute or a URI.
        storage: how to reach the store of a path; a catalog has settings of its own.

    Raises:
        DataError: there is no such catalog, table or metadata.
        MissingPackageError: the catalog's client is not installed.
        SourceError: the catalog or the store failed.
    """
    from pyiceberg.catalog import load_catalog
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
    from pyiceberg.table import StaticTable

    with translate_failures(path):
        if "/" in path:
            try:
                return StaticTable.from_metadata(path, _properties(path, storage))
            except FileNotFoundError:
                what = "there is no Iceberg table, or no version-hint.text that names its newest metadata"
                hint = "name the *.metadata.json, or the table by its catalog: CATALOG.NAMESPACE.TABLE"
                raise DataError(path, (Problem("data.path", what),), hint=hint) from None
        catalog, _, table = path.partition(".")
        if "." not in table:
            what = "is neither CATALOG.NAMESPACE.TABLE nor the path of a table"
            raise DataError(path, (Problem("data.path", what, path),), hint=CONFIGURED)
        with _client_failures(path):
            try:
                opened = load_catalog(catalog)
            except ValueError:
                problem = Problem("data.path", "no such Iceberg catalog is configured", catalog)
                raise DataError(path, (problem,), hint=CONFIGURED) from None
            try:
                return opened.load_table(table)
            except (NoSuchTableError, NoSuchNamespaceError):
                problem = Problem("data.path", f"catalog {catalog} has no such table", table)
                raise DataError(path, (problem,)) from None


def _properties(path: str, storage: StorageSpec) -> dict[str, str]:
    given = {
        "s3.endpoint": storage.endpoint,
        "s3.region": storage.region,
    }
    # NOTE: pyiceberg's files by pyarrow know no profiles.
    own = profile_credentials(storage) if path.startswith("s3") else {}
    keys = {f"s3.{name.replace('_', '-')}": value for name, value in own.items()}
    return {name: value for name, value in given.items() if value is not None} | keys


@contextmanager
def _client_failures(path: str) -> Iterator[None]:
    """Raises what a catalog's client is not installed for, or fails with.

    Raises:
        MissingPackageError: the client's package is not installed.
        SourceError: it failed with an exception of its own, as those of AWS Glue and Hive do.
    """
    from pyiceberg.exceptions import NotInstalledError

    try:
        yield
    except NotInstalledError as error:
        what, _, command = str(error).partition(": ")
        raise MissingPackageError("this Python", (Problem("data.path", what, path),), hint=command) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in CLIENTS:
            raise
        raise _unreachable(path, error) from None


def _unreachable(path: str, error: Exception) -> SourceError:
    problem = Problem("the catalog", "cannot be reached, or failed", type(error).__name__)
    return SourceError(path, (problem,), hint="a retry may help; is its configuration right?")


@contextmanager
def translate_failures(path: str) -> Iterator[None]:
    """Raises what a catalog or a store failed with as an error of ours, without what either said in full.

    Raises:
        DataError: the table cannot be planned as it is.
        SourceError: the catalog or the store refused, failed or did not answer.
    """
    from pyiceberg import exceptions
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    refused = (
        exceptions.UnauthorizedError,
        exceptions.ForbiddenError,
        exceptions.AuthorizationExpiredError,
        exceptions.OAuthError,
    )
    try:
        yield
    except refused as error:
        problem = Problem("the catalog", "does not accept the credentials", type(error).__name__)
        raise SourceError(path, (problem,), hint="renew them where pyiceberg is configured") from None
    except (exceptions.RESTError, RequestException, SQLAlchemyError) as error:
        raise _unreachable(path, error) from None
    except (ValueError, NotImplementedError) as error:
        if "equality delete" not in str(error):
            raise
        what = "the table has equality deletes: plain Parquet would show rows that were deleted"
        hint = "rewrite_data_files, in Spark or Trino, writes such files anew"
        raise DataError(path, (Problem("data.path", what),), hint=hint) from None
    except OSError as error:
        problem = Problem("the store", "cannot be read", type(error).__name__)
        raise SourceError(
            path, (problem,), hint="a retry may help; are credentials and storage right?"
        ) from None
