"""Files of the data directory and of the user: private, atomic, encrypted."""
