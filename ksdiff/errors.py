"""The one exception that users of the package meet for bad files, scenes, weights and configs."""


class KSDiffError(Exception):
    """Bad input. The message names the file, argument or band, what was expected and what came."""
