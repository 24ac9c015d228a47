"""Importing this makes what each service makes at its start, and exempts all that is imported until then from
the garbage collections of this process.

A forked process would visit it again, and copy the memory that it shares by doing so.
"""

import gc

from orchestrator.web.dashboard.pages import render_pages

render_pages()
gc.collect()
gc.freeze()
