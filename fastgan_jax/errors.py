"""Errors in one line: the exception type that commands show without a traceback, and the gist of a library's."""


class UserError(ValueError):
    """Bad input, or an environment that cannot do what was asked; the message names thing, value and cure."""

    def __str__(self) -> str:
        """The message in one line, also where a name or a library's message in it has several."""
        return " ".join(super().__str__().splitlines())


def gist(error: BaseException, lines: int = 1) -> str:
    """The first `lines` lines of an error's message that are not empty, as one of at most 200 characters."""
    told = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(told[:lines])[:200] or type(error).__name__
