"""What flows, and the sums on it. Standard library at import, no I/O."""

# NOTE: what pydantic is told of every record: a key that nobody knows is a mistake, not an extra; and NaN and
# infinities, which JSON cannot hold, could be read but never be written again.
FORBID_UNKNOWN = {"extra": "forbid", "allow_inf_nan": False}
