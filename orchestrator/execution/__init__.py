"""Running accepted jobs: dispatch, attempts, uploads, outputs, recovery, expiry."""
