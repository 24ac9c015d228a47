"""What API processes ask the scheduler, and how they hand on requests that only it can answer."""
