"""The exceptions of the package."""


class KSDiffError(Exception):
    """Bad input. The message names the file, argument or band, what was expected and what came."""


class Cancelled(Exception):
    """The calling program cancelled the work, see `ksdiff.inference.progress.watched`."""
