"""Verbs: pure functions from (desired, actual, now) to data. Time is an argument; nothing here acts or waits."""
