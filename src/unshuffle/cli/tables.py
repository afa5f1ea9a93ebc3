"""Result tables in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as RichTable

from unshuffle.report.tables import Table


def show(tables: list[Table], console: Console | None = None) -> None:
    """Prints each table, the best cells in bold."""
    console = console or Console()
    for table in tables:
        first, *others = table.columns
        grid = RichTable(first, title=table.title, title_justify="left")
        for column in others:
            grid.add_column(column, justify="right")
        for i, row in enumerate(table.rows):
            cells = [f"[bold]{c}[/bold]" if (i, j) in table.best else c for j, c in enumerate(row)]
            grid.add_row(*cells)
        console.print(grid)
