"""Drafts and versions of models that authors publish, as files below one directory."""
