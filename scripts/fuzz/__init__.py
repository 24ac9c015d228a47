"""Coverage-guided fuzzing of everything that parses data from outside."""
