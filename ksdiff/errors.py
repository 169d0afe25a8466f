"""The exceptions that users of the package meet."""


class KSDiffError(Exception):
    """Bad input. The message names the file, argument or band, what was expected and what came."""


class Cancelled(Exception):
    """A program has asked for an end, see `ksdiff.inference.progress.watched`."""
