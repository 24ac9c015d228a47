"""Importing this exempts all that is imported until then from the garbage collections of this process.

A forked process would visit it again, and copy the memory that it shares by doing so.
"""

import gc

gc.collect()
gc.freeze()
