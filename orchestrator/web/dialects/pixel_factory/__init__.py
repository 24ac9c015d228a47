"""The API of the Pixel Factory document."""
