"""Errors of weight files and their downloads.

WeightError
├── BadWeightFile                a file is damaged or not what its manifest says
├── InsufficientDiskSpace        the missing files do not fit on the disk
├── PermanentDownloadError       a download fails, and will fail again if retried
│   └── LicenseNotAccepted       the host requires an account that has accepted the license
└── DownloadInterrupted          a download stopped and may be resumed
"""

from __future__ import annotations


class WeightError(Exception):
    """Base class; the message is for the operator."""


class BadWeightFile(WeightError):
    """A file is damaged or not what its manifest says."""


class InsufficientDiskSpace(WeightError):
    """The missing files do not fit on the disk."""


class PermanentDownloadError(WeightError):
    """A download fails, and will fail again if retried."""


class LicenseNotAccepted(PermanentDownloadError):
    """The host requires an account that has accepted the license."""


class DownloadInterrupted(WeightError):
    """A download stopped and may be resumed."""
