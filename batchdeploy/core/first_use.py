"""What a registered version's own location held when it was first used."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeploy.core import FORBID_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFiles:
    """The files of a registered version, as its registry and a listing of its location tell of them.

    Attributes:
        location: where they lie; without a password.
        files: each file with what a listing says of it, which differs where the file was changed as far as a
            listing can tell. Empty where they were written to so lately that it could not tell.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    version: int
    model_id: str
    location: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstUse:
    """A version when its table's deployment first used it, kept for as long as the table.

    Attributes:
        digest: of the files that were downloaded from the version's own location.
        first_used_at: ISO 8601.
        seen: what tells, without a download, that these files lie there still.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    digest: str
    first_used_at: str
    seen: VersionFiles
