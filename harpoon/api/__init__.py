"""Doors: HTTP in, nouns out. Nothing here decides."""
