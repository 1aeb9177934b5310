"""The one exception for mistakes that a user can mend."""


class UserError(ValueError):
    """A mistake that a user can mend. Its message is one line: what is wrong, where, the way out.

    The command line prints the message and exits with status 1, without a traceback.
    """
