"""What flows, and the sums on it. Standard library at import, no I/O."""

# NOTE: what pydantic is told of every record: a key that nobody knows is a mistake, not an extra.
FORBID_UNKNOWN = {"extra": "forbid"}
