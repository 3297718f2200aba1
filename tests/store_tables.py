"""Tables that lie in a store, as a reader finds them: by the pointer document, with obstore and pyarrow."""

from __future__ import annotations

import io
import json
from typing import Any

import obstore
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from object_stores import Bucket


def pointer(bucket: Bucket, table: str) -> Any:
    """The pointer document of a table."""
    return json.loads(bytes(obstore.get(bucket.store, f"{table}/current.json").bytes()))


def published_frame(bucket: Bucket, table: str, folder: str) -> pd.DataFrame:
    """The published rows of a partition."""
    files = pointer(bucket, table)["partitions"][folder]["files"]
    parts = [bytes(obstore.get(bucket.store, f"{table}/{file['path']}").bytes()) for file in files]
    return pa.concat_tables(pq.read_table(io.BytesIO(part)) for part in parts).to_pandas()


def keys(bucket: Bucket, prefix: str = "") -> list[str]:
    """All keys below a prefix, sorted."""
    return sorted(entry["path"] for chunk in obstore.list(bucket.store, prefix or None) for entry in chunk)
