"""Harpoon keeps services in the state their users declared, and can always say why."""

__version__ = "0.1.0"
