"""Adapters to other libraries, one heavy dependency each; no adapter imports another."""
