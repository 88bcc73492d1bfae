"""The one exception type that the command line turns into a single line instead of a traceback."""


class UserError(ValueError):
    """Bad input, or an environment that cannot do what was asked; the message names thing, value and cure."""

    def __str__(self) -> str:
        """The message in one line, also where a name or a library's message in it has several."""
        return " ".join(super().__str__().splitlines())
