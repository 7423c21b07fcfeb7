"""The one exception that reaches the user as a single line."""

from pathlib import Path


class UserError(Exception):
    """Bad input: what is wrong, where, and how to mend it, in one line. The command line prints it and exits with 2."""


def expand(path: str | Path) -> Path:
    """The path with `~` and `~name` replaced by that user's folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: no such user ({error}); write the path in full") from error
