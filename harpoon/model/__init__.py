"""Nouns: frozen, slotted, keyword-only dataclasses; the standard library only.

Nothing here decides, reads a clock or touches the world. Each noun exists once: the same class is what a
user writes, what the store keeps and what crosses the wire to an agent; ``kit.codec`` turns it into bytes.
"""
