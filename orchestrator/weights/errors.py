"""What can go wrong with weight files.

WeightError
├── BadWeightFile          a file is not what its name says
├── InsufficientDiskSpace          the disk is too small for what is wanted
├── Refused          a download can not succeed, however often it is tried
│   └── LicenseNotAccepted   its host wants an account that has accepted the licence
└── Interrupted      a download that may go on where it was
"""

from __future__ import annotations


class WeightError(Exception):
    """The text says what is wrong, in words for an operator."""


class BadWeightFile(WeightError):
    pass


class InsufficientDiskSpace(WeightError):
    pass


class PermanentDownloadError(WeightError):
    pass


class LicenseNotAccepted(PermanentDownloadError):
    pass


class DownloadInterrupted(WeightError):
    pass
