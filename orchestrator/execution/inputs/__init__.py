"""What a prompt needs on its instance before it runs: input files and LoRAs."""
