"""Publishing: scores are staged in private and become visible in one atomic step, by swap or by pointer."""
