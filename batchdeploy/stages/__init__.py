"""What happens: one verb each; no stage imports another."""
