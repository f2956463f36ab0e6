"""Why a statement may not run."""


class Refused(Exception):
    """The statement may not run; the message says why, for a person and for the model that wrote it."""
