"""The one exception that reaches the user as a single line."""


class UserError(Exception):
    """Bad input: what is wrong, where, and how to mend it, in one line. The command line prints it and exits with 2."""
