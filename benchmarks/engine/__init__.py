"""The engine beside the usual ways, in one run on one machine; see __main__.py."""
