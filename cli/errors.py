"""What a command can end with, and the exit code that says so."""


class UsageError(Exception):
    """The command line or the configuration cannot be right; nothing was done. Exit code 2."""


class StageError(Exception):
    """A stage could not do its work; the message says why and what to do. Exit code 1."""
