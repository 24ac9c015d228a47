"""PixelDojo: jobs that are polled or reported to a webhook, prices in credits."""
