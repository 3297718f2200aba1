"""Records and pure calculations on them. Standard library at import, no I/O."""

# pydantic's settings for every record. An unknown key is a mistake; NaN and infinities are not JSON, so a
# record that held one could not be written again.
FORBID_UNKNOWN = {"extra": "forbid", "allow_inf_nan": False}
