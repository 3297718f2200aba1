"""The second example: predicts the mean departure delay per hour and airport, one week at a time."""
