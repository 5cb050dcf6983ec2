"""Benchmarks: each prints its figure beside the raw floor measured in the same run."""
