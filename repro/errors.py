"""What a command can end with, and the exit code that says so."""


class UsageError(Exception):
    """The command line or the configuration cannot be right; nothing was done. Exit code 2."""


class StageError(Exception):
    """A stage could not do its work; the message says why and what to do. Exit code 1."""


class TerminatedError(BaseException):
    """SIGTERM told the process to end. Not an Exception, so that nothing on the way handles it as one."""
