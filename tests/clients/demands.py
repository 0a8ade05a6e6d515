"""How a check says what is wrong."""


class Failed(Exception):
    """A client did not see what it should."""


def demand(holds: object, told: object) -> None:
    """`told` says what was seen."""
    if not holds:
        raise Failed(str(told))
