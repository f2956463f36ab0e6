"""One module with the row of each kind of server: see ../dialect.py."""
