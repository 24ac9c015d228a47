"""What API processes learn from the scheduler while jobs run, and the scheduler from them."""
