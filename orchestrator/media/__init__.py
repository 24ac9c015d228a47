"""Pictures, films and sound as bytes: read under guards, described, converted, kept in S3."""
