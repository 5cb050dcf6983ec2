"""Loops: they read whole states, call the core to decide, and act. Only here does a decision become a deed."""
