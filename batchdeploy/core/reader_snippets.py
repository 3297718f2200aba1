"""Code snippets that read the published scores with DuckDB, pandas, Polars and Spark."""

from __future__ import annotations

from batchdeploy.core.deployment import Deployment
from batchdeploy.core.layout import POINTER


def reader_snippets(deployment: Deployment, table: str) -> dict[str, str]:
    """Reader name to its snippet, for DuckDB, pandas, Polars and Spark.

    Args:
        deployment: the deployment that publishes the scores.
        table: the published table: a folder, or with the mode ``pointer`` also a URI.
    """
    if deployment.publish.mode == "pointer":
        return _by_pointer(deployment.output.path if "://" in deployment.output.path else table)
    column = deployment.data.partition.column
    return {
        "DuckDB": f"SELECT * FROM read_parquet('{_sql(table)}/*/*.parquet', hive_partitioning = true);",  # noqa: S608
        "pandas": f"import pandas as pd\nscores = pd.read_parquet({table!r})  # {column} is a category",
        "Polars": f"import polars as pl\nscores = pl.scan_parquet({f'{table}/*/*.parquet'!r}, "
        "hive_partitioning=True)",
        "Spark": f"scores = spark.read.parquet({table!r})",
    }


def _by_pointer(table: str) -> dict[str, str]:
    """Snippets that take the file list from current.json, whose files are complete and never change."""
    current = f"{table}/{POINTER}"
    files = (
        f"import json, fsspec\nwith fsspec.open({current!r}) as stream:\n"
        f"    files = [{table + '/'!r} + path for path in json.load(stream)['files']]"
    )
    return {
        "DuckDB": f"SET VARIABLE files = (SELECT list_transform(files, lambda f: '{_sql(table)}/' || f) "  # noqa: S608
        f"FROM read_json('{_sql(current)}', columns = {{files: 'VARCHAR[]'}}));\n"
        "SELECT * FROM read_parquet(getvariable('files'), hive_partitioning = true);",
        "pandas": f"{files}\nimport pandas as pd\n"
        "scores = pd.concat([pd.read_parquet(f) for f in files], ignore_index=True)",
        "Polars": f"{files}\nimport polars as pl\nscores = pl.scan_parquet(files, hive_partitioning=True)",
        "Spark": f"{files}\nscores = spark.read.option('basePath', {table!r}).parquet(*files)",
    }


def _sql(text: str) -> str:
    return text.replace("'", "''")
