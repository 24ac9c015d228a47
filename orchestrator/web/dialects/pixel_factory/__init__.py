"""The Pixel Factory document."""
