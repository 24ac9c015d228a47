"""PixelAPI: submit and poll, prices in credits."""
