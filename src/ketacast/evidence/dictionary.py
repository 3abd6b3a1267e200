"""The data dictionary, made from the same column descriptions that check the files."""

from __future__ import annotations

from ketacast.evidence.columns import TABLES
from ketacast.evidence.specs import TableSpec


def data_dictionary() -> str:
    """All tables and columns as Markdown.

    Returns
    -------
    str
        One heading and one table per evidence table: column, what a cell may
        hold (``*`` where it may not be blank), meaning.
    """
    return "\n".join(_describe(spec) for spec in TABLES.values())


def _describe(spec: TableSpec) -> str:
    lines = [f"### {spec.file}", "", f"{spec.description[0].upper()}{spec.description[1:]}."]
    named = " + ".join(f"`{name}`" for name in spec.key)
    lines += [f"A row is named by {named}; no two rows share it.", ""]
    lines += ["| column | cell | meaning |", "|---|---|---|"]
    for column in spec.columns:
        mark = "*" if column.required else ""
        lines.append(f"| `{column.name}`{mark} | {column.allowed} | {column.description} |")
    return "\n".join([*lines, ""])
