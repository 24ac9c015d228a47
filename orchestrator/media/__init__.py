"""Images, video, audio and tensor files as bytes: validate, probe, convert and strip metadata. No I/O."""
