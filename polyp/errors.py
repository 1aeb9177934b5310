"""The exception for mistakes of the user."""


class UserError(ValueError):
    """A mistake of the user. Its message is one line: where, what is wrong, and what to do.

    The command line prints the message and exits with status 1, without a traceback.
    """
