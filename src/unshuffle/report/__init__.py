"""The report: one run's folder in, one self-contained HTML page out.

It reads what the other floors wrote (``recipe.json``, ``metrics.csv``, ``results.jsonl``, ``figures/*.npz``) and knows
nothing of how it came about. The tables are also there as Markdown and as plain lists, for the command line.
"""

from unshuffle.report.page import write_report
from unshuffle.report.read import RunFolder, read_run
from unshuffle.report.tables import Table, tables, to_html, to_markdown

__all__ = ["RunFolder", "Table", "read_run", "tables", "to_html", "to_markdown", "write_report"]
