"""Verbs at the terminal. Modules are imported when their verb is used, so that the others start fast."""
