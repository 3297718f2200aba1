"""The outside world: one heavy dependency each; no adapter imports another."""
