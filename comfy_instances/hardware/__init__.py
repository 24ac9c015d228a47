"""GPUs of this machine and their launch profiles."""
