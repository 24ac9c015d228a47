"""The commands and command groups, each imported when it is called."""
