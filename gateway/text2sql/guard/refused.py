"""Why a statement may not run."""

# Characters of the longest statement, with its comments.
STATEMENT_CHARACTERS = 20_000


class Refused(Exception):
    """The statement may not run; the message says why, for a person and for the model that wrote it."""
