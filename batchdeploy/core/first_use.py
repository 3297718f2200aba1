"""The files of a registered model version at its first use."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeploy.core import FORBID_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFiles:
    """The files of a registered version, according to the registry and a listing of its location.

    Attributes:
        location: the URI of the files, without a password.
        files: each file with its fingerprint from the listing (such as size and time). Empty if the files
            were written so recently that a listing could not show a further change.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    version: int
    model_id: str
    location: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstUse:
    """The record of a version's first use by a table's deployment; kept as long as the table.

    Attributes:
        digest: of the files that were downloaded from the version's own location.
        first_used_at: ISO 8601.
        seen: the listing that shows, without a download, that the files are unchanged.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    digest: str
    first_used_at: str
    seen: VersionFiles
