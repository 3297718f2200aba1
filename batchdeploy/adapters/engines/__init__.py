"""What runs the work over many splits: this process, or Spark."""
