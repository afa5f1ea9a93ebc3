"""Result tables in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from unshuffle.report.tables import Table


def show(tables: list[Table], console: Console | None = None) -> None:
    """Prints each table, the best cells in bold."""
    console = console or Console()
    for table in tables:
        grid = RichTable(title=Text(table.title), title_justify="left")
        for k, column in enumerate(table.columns):
            grid.add_column(Text(column), justify="right" if k else "left")
        for i, row in enumerate(table.rows):
            grid.add_row(*(Text(cell, "bold" if (i, j) in table.best else "") for j, cell in enumerate(row)))
        console.print(grid)
