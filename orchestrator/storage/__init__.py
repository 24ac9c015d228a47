"""Object storage: an S3 client and the embedded S3 server."""
