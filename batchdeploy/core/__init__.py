"""What flows, and the sums on it. Standard library at import, no I/O."""

# NOTE: what pydantic is told of every record: a key that nobody knows is a mistake, not an extra; and what JSON
# cannot hold, NaN and infinities, could be read but never be written again.
FORBID_UNKNOWN = {"extra": "forbid", "allow_inf_nan": False}
