"""What comes of asking somebody over a network who does not answer."""


class Lost(Exception):
    """No answer came."""

    def __init__(self, what: str, *, is_sent: bool) -> None:
        super().__init__(what)
        #: It may have been carried out, or may be yet. Otherwise it certainly never will.
        self.is_sent = is_sent
