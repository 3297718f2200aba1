"""Finds and escapes text that is not valid UTF-8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def escape_invalid_utf8(values: pa.Array) -> tuple[pa.Array, np.ndarray[Any, Any] | None]:
    r"""The text with invalid bytes escaped (``Z\xfcrich``), and a mask of the rows that contained one.

    Args:
        values: an array of Arrow's type ``string``, whose content may be unchecked.

    Returns:
        ``values`` unchanged and None, if all of it is valid UTF-8.
    """
    import numpy as np
    import pyarrow as pa

    if _is_ascii(values):
        return values, None
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        raw = values.view(pa.binary()).to_pylist()
        mended = [cell and cell.decode("utf-8", "backslashreplace") for cell in raw]
        spoilt = [bool(cell) and text.encode() != cell for cell, text in zip(raw, mended, strict=True)]
        return pa.array(mended, pa.string()), np.array(spoilt, dtype=bool)
    return values, None


def _is_ascii(values: pa.Array) -> bool:
    """Whether no byte has its highest bit set; much faster than checking each text."""
    import numpy as np

    _, offsets, data = values.buffers()
    if not len(values) or data is None:
        return True
    ends = np.frombuffer(offsets, dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    used = np.frombuffer(data, dtype=np.int8)[ends[0] : ends[-1]]
    return not len(used) or int(used.min()) >= 0
