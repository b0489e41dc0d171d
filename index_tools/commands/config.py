"""``retrieval config``: the settings in force, where each came from, and its variable."""

from __future__ import annotations

import typer
from rich.table import Table

from index_tools import options as opt
from index_tools.output import Output

__all__ = ["config"]


def config(context: typer.Context, as_json: opt.Json = False) -> None:
    """Show the settings in force and where each came from."""
    output = Output.of(context, as_json)

    from index_tools.settings import Settings, environment_name, load_settings

    loaded = load_settings()
    rows = [
        {
            "name": name,
            "value": getattr(loaded.values, name),
            "source": loaded.origins[name],
            "environment": environment_name(name),
            "description": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]
    file = None if loaded.file is None else str(loaded.file)

    def human() -> None:
        table = Table("setting", "value", "source", "environment variable", box=None, pad_edge=False)
        for row in rows:
            value = "" if row["value"] is None else str(row["value"])
            table.add_row(row["name"], value, row["source"], row["environment"])
        output.show(table, f"file: {file or 'none (retrieval.toml here, or the one RETRIEVAL_CONFIG names)'}")

    output.data({"file": file, "settings": rows}, human)
