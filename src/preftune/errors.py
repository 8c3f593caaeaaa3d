"""The one exception that people see."""


class PreftuneError(Exception):
    """A fault that the user can mend: one sentence with what, where (file, row, key) and the remedy."""
