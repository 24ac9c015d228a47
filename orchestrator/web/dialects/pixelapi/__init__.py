"""PixelAPI's document."""
