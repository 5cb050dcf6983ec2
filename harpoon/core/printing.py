"""Texts of users in drawings: nothing but characters that can be seen."""


def printable(text: str, besides: str = "") -> str:
    """Return a text with a sign in the place of each character that cannot be seen, but for a few that may stand."""
    if text.isprintable():
        return text
    return "".join([one if one.isprintable() or one in besides else "�" for one in text])
