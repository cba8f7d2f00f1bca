"""The results as Markdown: a row a file, then the reasons for leaving parts alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]

HEADERS = (
    *("file", "params", "kept", "onnxsim", "groups", "declined", "checker", "shapes", "loads"),
    *("runs", "verify", "s", "MB", "remarks"),
)
SHORTER = ("checker", "shapes", "loads", "runs", "face", "verify")


def share(record: Record | None) -> float | None:
    """The share of parameters that is left."""
    before, after = (record or {}).get("params_before"), (record or {}).get("params_after")
    return None if not before or after is None else after / before


def sound(record: Record | None) -> bool:
    """Whether a program gave a model that is as good as the original."""
    return (
        record is not None
        and record.get("ended") == "fine"
        and all(record.get(name) != "broken" for name in SHORTER)
    )


def share_text(record: Record | None) -> str:
    """Write the share, or what went wrong; a number that a broken file bought is marked."""
    if record is None:
        return "-"
    value = share(record)
    if value is None:
        return str(record.get("ended", "broken"))
    broken = [n for n in SHORTER if record.get(n) == "broken" and n != "face"]
    return f"{value:.3f}" + (f" BROKEN ({', '.join(broken)})" if broken else "")


def row(name: str, ours: Record, peer: Record | None) -> list[str]:
    """Write one file."""
    sizes = f" ({len(ours['sizes'])})" if len(ours.get("sizes", ())) > 1 else ""
    remarks = [*ours.get("problems", [])]
    if ours.get("warnings"):
        remarks.append("warnings on stderr")
    if (ours_share := share(ours)) is not None and sound(peer):
        theirs = share(peer)
        if theirs is not None and ours_share > theirs + 5e-4:
            remarks.append("keeps more than onnxsim")
    params = ours.get("params_before") or (peer or {}).get("params_before")
    return [
        name,
        f"{params:,}" if params is not None else "?",
        share_text(ours),
        share_text(peer),
        str(ours.get("groups", "-")),
        str(sum(ours["declined"].values())) if "declined" in ours else "-",
        *(str(ours.get(each, "-")) for each in ("checker", "shapes", "loads")),
        f"{ours.get('runs', '-')}{sizes}",
        str(ours.get("verify", "-")),
        f"{ours['seconds']:.1f}" if "seconds" in ours else "-",
        f"{ours['peak_mb']:.0f}" if "peak_mb" in ours else "-",
        "; ".join(remark.replace("|", "/") for remark in remarks)[:160],
    ]


def generic(reason: str) -> str:
    """Turn a reason that names nodes and values into one that can be counted over files."""
    reason = re.sub(r"(?<!\w)'[^']*'", "...", reason)
    return re.sub(r"\b\d+\b", "#", reason)


def reasons(records: Sequence[Record]) -> list[list[str]]:
    """Every reason with how many nodes, in how many files, the most frequent first."""
    nodes: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for record in records:
        found: Counter[str] = Counter()
        for reason, count in record.get("declined", {}).items():
            found[generic(reason)] += count
        nodes.update(found)
        files.update(found.keys())
    return [[reason, str(count), str(files[reason])] for reason, count in nodes.most_common()]


def summary(pairs: Sequence[tuple[Record, Record | None]]) -> str:
    """Write one line that says how it went."""
    ours = [record for record, _ in pairs]
    at_most = [
        (share(mine) or 0) <= (share(theirs) or 0) + 5e-4
        for mine, theirs in pairs
        if share(mine) is not None and share(theirs) is not None and sound(theirs)
    ]
    ends = Counter(record.get("ended", "?") for record in ours)
    words = [f"{len(ours)} files", *(f"{count} {how}" for how, count in ends.most_common())]
    words.append(f"{sum(map(sound, ours))} sound")
    if at_most:
        words.append(f"{sum(at_most)} of {len(at_most)} keep at most what a sound onnxsim keeps")
    return ", ".join(words)


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table whose columns line up."""
    cells = [list(headers), *map(list, rows)]
    widths = [max(3, *(len(line[column]) for line in cells)) for column in range(len(headers))]
    lines = [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in cells
    ]
    lines.insert(1, f"| {' | '.join('-' * width for width in widths)} |")
    return "\n".join(lines)
