"""What can go wrong with weight files.

WeightError
├── BadFile          a file is not what its name says
├── NoSpace          the disk is too small for what is wanted
├── Refused          a download can not succeed, however often it is tried
│   └── GateClosed   its host wants an account that has accepted the licence
└── Interrupted      a download that may go on where it was
"""

from __future__ import annotations


class WeightError(Exception):
    """The text says what is wrong, in words for an operator."""


class BadFile(WeightError):
    pass


class NoSpace(WeightError):
    pass


class Refused(WeightError):
    pass


class GateClosed(Refused):
    pass


class Interrupted(WeightError):
    pass
