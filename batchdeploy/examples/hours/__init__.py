"""The second example: each week, how long departures of each hour and airport will be delayed."""
