"""What flows, and the sums on it. Standard library at import, no I/O."""
