"""What goes wrong before there are examples to check."""


class DataUnavailableError(RuntimeError):
    """The files are not there and cannot be downloaded; the message says where they belong."""
