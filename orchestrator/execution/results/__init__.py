"""From the files of an instance to stored results, and their end."""
