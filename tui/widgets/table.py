"""A run's figures as a table: first, last, lowest and highest with their steps."""

from collections.abc import Sequence

from rich.text import Text
from textual.content import Content
from textual.widgets import DataTable

from lab.display import CONTROLS
from tui.data.charts import Row, alone, si

COLUMNS = ("figure", "first", "last", "min", "at step", "max", "at step", "values")


class Figures(DataTable[Text]):
    """The pane."""

    HELP = "## Table\nEach figure over the run. `×3`: three values were no number. Numbers of reports stand last."

    def __init__(self, id: str) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=True, cell_padding=1)
        self._rows: list[Row] = []

    def on_mount(self) -> None:
        for i, name in enumerate(COLUMNS):
            self.add_column(Text(name, justify="left" if i == 0 else "right"), key=str(i))

    def show(self, title: str, rows: Sequence[Row]) -> None:
        """Bring it up to date; the cursor stays on its line."""
        self.border_title = Content(f"figures  {title.translate(CONTROLS)}")
        self.border_subtitle = None if rows else "no figures yet"
        if list(rows) == self._rows:
            return
        at = self.cursor_row
        self._rows = list(rows)
        self.clear()
        for row in rows:
            bad = f" ×{row.bad}" if row.bad else ""
            steps = [f"{step:,.0f}" if step == step else "-" for step in (row.low_at, row.high_at)]
            said = [si(row.first), si(row.last), si(row.low), steps[0], si(row.high), steps[1], f"{row.count:,}{bad}"]
            self.add_row(Text(alone(row.key)), *(Text(cell, justify="right") for cell in said))
        if rows:
            self.move_cursor(row=min(at, len(rows) - 1))

    def copy_text(self) -> str:
        """Tab-separated, for a spreadsheet."""
        lines = ["\t".join(COLUMNS)]
        lines += [
            "\t".join(map(str, (r.key, r.first, r.last, r.low, r.low_at, r.high, r.high_at, r.count)))
            for r in self._rows
        ]
        return "\n".join(lines)
