"""What instances can run and hold, how they are watched, warmed and cleaned."""
