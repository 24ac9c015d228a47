"""PixelDojo's documents."""
