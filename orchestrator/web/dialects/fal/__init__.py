"""fal's API: run an app at once or by a queue, below the prefix `/fal`."""
