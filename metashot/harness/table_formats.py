"""A table as a value, and its four forms: Markdown, LaTeX, CSV and HTML. Nothing here knows what it is about."""

import csv
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from html import escape
from io import StringIO
from types import MappingProxyType

NONE = "–"


@dataclass(frozen=True)
class Field:
    """The text of one line in one column, the sentences that must be said of it, and whether it is the best of its column.

    `plain` is what programs read where the text is dressed for people, as `2,000` or `0.53?` are.
    """

    text: str
    marks: tuple[str, ...] = ()
    best: bool = False
    plain: str | None = None


@dataclass(frozen=True)
class Column:
    """A column's head. A `usual` text in every line is said once below the table instead."""

    name: str
    numeric: bool = False
    usual: str = ""


@dataclass(frozen=True)
class Table:
    """Lines of fields, one for each column. A mark is shown as a letter and spelled out below; `remarks` are about the whole table."""

    columns: tuple[Column, ...]
    lines: tuple[tuple[Field, ...], ...]
    remarks: tuple[str, ...] = ()

    def letters(self) -> dict[str, str]:
        """Every sentence that a field is marked with -> its letter, in the order of the table."""
        said = dict.fromkeys(mark for line in self.lines for field in line for mark in field.marks)
        return {mark: _letter(number) for number, mark in enumerate(said)}

    def for_people(self) -> "Table":
        """The same without columns that tell nothing, or the same usual thing in every line, which is then a remark."""
        kept: list[int] = []
        remarks = list(self.remarks)
        for number, column in enumerate(self.columns):
            fields = [line[number] for line in self.lines]
            if not all(field.text == NONE and not field.marks for field in fields):
                if column.usual and all(field == Field(column.usual) for field in fields):
                    remarks.append(f"In every line, {column.name}: {column.usual}.")
                else:
                    kept.append(number)
        lines = tuple(tuple(line[number] for number in kept) for line in self.lines)
        return replace(self, columns=tuple(self.columns[number] for number in kept), lines=lines, remarks=tuple(remarks))


def markdown(table: Table) -> str:
    """A table of GitHub's Markdown, with a list of its footnotes."""
    letters = table.letters()
    heads = [_markdown(column.name) for column in table.columns]
    rule = ["--:" if column.numeric else ":--" for column in table.columns]

    def shown(field: Field) -> str:
        text = _markdown(field.text)
        return (f"**{text}**" if field.best else text) + _raised(field, letters, "<sup>{}</sup>")

    rows = [heads, rule, *([shown(field) for field in line] for line in table.lines)]
    notes = [f"- <sup>{letter}</sup> {_markdown(mark)}" for mark, letter in letters.items()]
    notes += [f"- {_markdown(remark)}" for remark in table.remarks]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n" + ("\n" + "\n".join(notes) + "\n" if notes else "")


def latex(table: Table) -> str:
    r"""A `tabular` in the manner of the package booktabs, and its footnotes as small paragraphs below."""
    letters = table.letters()

    def shown(field: Field) -> str:
        text = _latex(field.text)
        return (rf"\textbf{{{text}}}" if field.best else text) + _raised(field, letters, r"\textsuperscript{{{}}}")

    def row(texts: list[str]) -> str:
        line = " & ".join(texts)
        return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"  # after a \\ these would be its arguments

    spec = "".join("r" if column.numeric else "l" for column in table.columns)
    notes = [rf"\textsuperscript{{{letter}}} {_latex(mark)}\par" for mark, letter in letters.items()]
    notes += [rf"{_latex(remark)}\par" for remark in table.remarks]
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        row([_latex(column.name) for column in table.columns]),
        r"\midrule",
        *(row([shown(field) for field in line]) for line in table.lines),
        r"\bottomrule",
        r"\end{tabular}",
        *([r"\par\smallskip", r"{\footnotesize", *notes, "}"] if notes else []),
    ]
    return "\n".join(lines) + "\n"


def csv_text(table: Table) -> str:
    """Comma-separated values: no letters, but a last column `notes` with what is said of each line, by columns."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*(column.name for column in table.columns), "notes"])
    for line in table.lines:
        notes = [f"{column.name}: {mark}" for column, field in zip(table.columns, line, strict=True) for mark in field.marks]
        writer.writerow([*(field.text if field.plain is None else field.plain for field in line), " ".join(notes)])
    return buffer.getvalue()


def html(table: Table) -> str:
    """One `<table>`, with its footnotes in the foot; no style, no script, nothing outside it."""
    letters = table.letters()

    def cell(tag: str, column: Column, content: str) -> str:
        return f"<{tag}{_RIGHT if column.numeric else ''}>{content}</{tag}>"

    def shown(field: Field) -> str:
        text = escape(field.text)
        return (f"<strong>{text}</strong>" if field.best else text) + _raised(field, letters, "<sup>{}</sup>")

    heads = "".join(cell("th", column, escape(column.name)) for column in table.columns)
    rows = ["".join(cell("td", *pair) for pair in zip(table.columns, map(shown, line), strict=True)) for line in table.lines]
    notes = [f"<sup>{letter}</sup> {escape(mark)}" for mark, letter in letters.items()] + [escape(remark) for remark in table.remarks]
    foot = [f'<tr><td colspan="{len(table.columns)}">{note}</td></tr>' for note in notes]
    parts = ["<table>", f"<thead>\n<tr>{heads}</tr>\n</thead>", "<tbody>", *(f"<tr>{row}</tr>" for row in rows), "</tbody>"]
    return "\n".join([*parts, *(["<tfoot>", *foot, "</tfoot>"] if foot else []), "</table>"]) + "\n"


FORMATS: Mapping[str, Callable[[Table], str]] = MappingProxyType({"md": markdown, "latex": latex, "csv": csv_text, "html": html})
_RIGHT = ' style="text-align: right"'
_IN_MARKDOWN = re.compile(r"[\\`*<>|$~&\[\]{}]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # an underscore inside a word is one
_IN_LATEX = {
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{NO-BREAK SPACE}": "~",
}


def _letter(number: int) -> str:
    """0 as `a`, 25 as `z`, 26 as `aa`."""
    letter = chr(ord("a") + number % 26)
    return letter if number < 26 else _letter(number // 26 - 1) + letter


def _raised(field: Field, letters: Mapping[str, str], form: str) -> str:
    return form.format(",".join(letter for mark, letter in letters.items() if mark in field.marks)) if field.marks else ""


def _markdown(text: str) -> str:
    return _IN_MARKDOWN.sub(lambda found: f"\\{found[0]}", " ".join(text.split()))


def _latex(text: str) -> str:
    if re.fullmatch(r"[-+]\d+(\.\d+)?", text):
        return f"${text}$"  # a minus, not a hyphen
    return "".join(map(_latex_sign, " ".join(text.split())))


def _latex_sign(sign: str) -> str:
    """A sign as pdflatex sets it; one that it has no letter for is named, not lost."""
    if sign in _IN_LATEX:
        return _IN_LATEX[sign]
    known = sign.isascii() or (unicodedata.name(sign, "").startswith("LATIN ") and ord(sign) < 0x180)
    return sign if known else f"[U+{ord(sign):04X}]"
