"""Four forms of one table, each read back by a parser; the checks are seen to fail on broken specimens."""

import csv
import re
from html.parser import HTMLParser
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from metashot.harness.table_formats import FORMATS, NONE, Column, Field, Table, csv_text, html, latex, markdown

NASTY = r"a_b __c__ 100% & #1 <b>x</b> | {y} $z$ ~^\ `code` [l](m) *i* “q” ± 2"
TABLE = Table(
    (Column("learner"), Column("acc, %", numeric=True), Column("rank_1", numeric=True)),
    (
        (Field(NASTY), Field("98.32 ± 0.14", ("One <seed> & 5%.",), best=True), Field("1")),
        (Field('mine.py:Mine, "new"', ("Changed: lr=0.4.", "One <seed> & 5%.")), Field("-0.48"), Field(NONE, ("Not ranked.",))),
    ),
    ("A_remark | about {all}.",),
)
# the marks' letters in the order of the table, a, b, c; and in each field in the order of the alphabet
SHOWN = [[NASTY, "98.32 ± 0.14a", "1"], ['mine.py:Mine, "new"a,b', "-0.48", f"{NONE}c"]]
NOTES = ["a One <seed> & 5%.", "b Changed: lr=0.4.", "c Not ranked.", "A_remark | about {all}."]


def _plain(token: Token) -> str:
    """The text of an inline token, without its markup."""
    inner = token.children or []
    return "".join("" if child.type == "html_inline" else child.content for child in inner)


def _markdown(text: str) -> tuple[list[list[str]], list[str]]:
    """Rows (the head first) and list items of a document."""
    rows: list[list[str]] = []
    items: list[str] = []
    kind = ""
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        if token.type == "tr_open":
            rows.append([])
        if token.type.endswith("_open"):
            kind = token.type
        elif token.type == "inline" and kind in ("td_open", "th_open"):
            rows[-1].append(_plain(token))
        elif token.type == "inline":
            items.append(_plain(token))
    return rows, items


class _Cells(HTMLParser):
    """Rows of the three parts of a table; an element that is not closed in its order is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, list[list[str]]] = {}
        self.open: list[str] = []
        self.strong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag in ("thead", "tbody", "tfoot"):
            self.parts[tag] = []
        elif tag == "tr":
            self.parts[self.open[-2]].append([])
        elif tag in ("td", "th"):
            self.parts[self.open[-3]][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        part = next((part for part in self.parts if part in self.open), None)
        if part and {"td", "th"} & set(self.open):
            self.parts[part][-1][-1] += data
            if "strong" in self.open:
                self.strong.append(data)
        else:
            assert not data.strip(), f"{data!r} stands outside of the cells"


def _html(text: str) -> _Cells:
    cells = _Cells()
    cells.feed(text)
    cells.close()
    assert cells.open == []
    return cells


def _latex_rows(text: str) -> list[list[str]]:
    """The rows of a tabular, as pdflatex would split them; anything that would not compile is an error."""
    assert re.fullmatch(r"[\x00-\x7f\xa0-\u017f]*", text), "a letter that pdflatex does not have"
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[\\&%$#_{}]", "", body)
    assert "%" not in bare, "the rest of the line would be a comment"
    assert not re.search(r"[#^~<>|]|\$\$", re.sub(r"\\[a-z]+\{\}", "", bare)), "a sign with a meaning of its own, or none in text"
    depth = 0
    for brace in re.findall(r"[{}]", re.sub(r"\\[\\{}]", "", body)):
        depth += 1 if brace == "{" else -1
        assert depth >= 0, "a brace is closed that was not opened"
    assert depth == 0, "a brace is not closed"
    assert body.count("$") - body.count(r"\$") in range(0, 10**6, 2), "mathematics is not closed"
    assert re.sub(r"\$[^$]*\$", "", bare).count("_") == 0, "an index outside of mathematics"
    begin = re.search(r"\\begin\{tabular\}\{([lr]+)\}\n(.*)\\end\{tabular\}", body, re.DOTALL)
    assert begin is not None
    lines = [line for line in begin[2].splitlines() if line not in (r"\toprule", r"\midrule", r"\bottomrule")]
    assert all(line.endswith(r" \\") for line in lines), "a row does not end"
    assert not any(line.startswith(("[", "*")) for line in lines[1:]), "the row would be an argument of the \\\\ before it"
    rows = [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in lines]
    assert {len(row) for row in rows} == {len(begin[1])}, "a row has more or fewer fields than columns"
    return [[field.strip() for field in row] for row in rows]


def _latex_text(field: str) -> str:
    """What a LaTeX field shows."""
    field = re.sub(r"\\text(?:superscript|bf)\{((?:[^{}]|\\[{}]|\{\})*)\}", r"\1", field)
    known = {
        r"\textbackslash{}": "\\",
        r"\textasciitilde{}": "~",
        r"\textasciicircum{}": "^",
        r"\textless{}": "<",
        r"\textgreater{}": ">",
        r"\textbar{}": "|",
        r"$\pm$": "±",
        "--": "–",
        "''": '"',
    }
    pattern = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    return re.sub(r"\\([&%$#_{}])", r"\1", re.sub(pattern, lambda found: known[found[0]], field)).replace("$-0.48$", "-0.48")


def test_markdown_reads_back() -> None:
    rows, items = _markdown(markdown(TABLE))
    assert rows == [["learner", "acc, %", "rank_1"], *SHOWN]
    assert items == NOTES
    assert "| **98.32 ± 0.14**<sup>a</sup> |" in markdown(TABLE)
    assert "| :-- | --: | --: |" in markdown(TABLE)


def test_html_reads_back_and_is_one_table() -> None:
    cells = _html(html(TABLE))
    assert cells.parts == {"thead": [["learner", "acc, %", "rank_1"]], "tbody": SHOWN, "tfoot": [[note] for note in NOTES]}
    assert cells.strong == ["98.32 ± 0.14"]
    assert html(TABLE).startswith("<table>\n")
    assert html(TABLE).endswith("</table>\n")


def test_csv_reads_back_with_the_marks_spelled_out() -> None:
    rows = list(csv.reader(StringIO(csv_text(TABLE))))
    assert rows[0] == ["learner", "acc, %", "rank_1", "notes"]
    assert [row[:3] for row in rows[1:]] == [[field.text for field in line] for line in TABLE.lines]
    assert rows[1][3] == "acc, %: One <seed> & 5%."
    assert rows[2][3] == "learner: Changed: lr=0.4. learner: One <seed> & 5%. rank_1: Not ranked."


def test_csv_has_the_plain_text_and_the_other_forms_that_for_people() -> None:
    table = Table((Column("episodes"), Column("rank")), ((Field("2,000", plain="2000"), Field(NONE, plain="")),))
    assert csv_text(table) == "episodes,rank,notes\n2000,,\n"
    assert all("2,000" in form(table) and "2000" not in form(table) for form in (markdown, latex, html))


def test_latex_reads_back_and_would_compile() -> None:
    text = latex(TABLE)
    rows = [[_latex_text(field) for field in row] for row in _latex_rows(text)]
    shown = [[text.replace("“", "[U+201C]").replace("”", "[U+201D]") for text in row] for row in SHOWN]
    assert rows == [["learner", "acc, %", "rank_1"], *shown]
    assert r"% needs \usepackage{booktabs}" in text
    assert r"98.32 $\pm$ 0.14" in text
    assert [_latex_text(line.removesuffix(r"\par")) for line in text.partition("footnotesize\n")[2].splitlines()[:-1]] == NOTES


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r"\%", "%"),
        (r"\_", "_"),
        (r"\#", "#"),
        (r"\{y\}", "{y"),
        (r"\$z\$", "$z"),
        (r"$\pm$", "±γ"),
        (r"\textless{}", "<"),
        (r" & 1 \\", r" \\"),
        (r" & 1 \\", r" & 1 & 2 \\"),
        (r" \\", ""),
        ("mine.py", "[mine.py"),
    ],
)
def test_latex_that_would_not_compile_is_noticed(right: str, wrong: str) -> None:
    text = latex(TABLE)
    assert right in text
    broken = text.replace(right, wrong) if "mine" not in right else text.replace("\nmine.py", "\n[mine.py")
    with pytest.raises(AssertionError):
        _latex_rows(broken)


@pytest.mark.parametrize(("right", "wrong"), [("&lt;b&gt;", "<b>"), ("</td>", ""), ("</tfoot>", "</tfoot>\nafterwards")])
def test_html_that_is_no_table_is_noticed(right: str, wrong: str) -> None:
    text = html(TABLE)
    assert right in text
    with pytest.raises((AssertionError, KeyError)):
        assert _html(text.replace(right, wrong, 1)).parts["tbody"] == SHOWN


@pytest.mark.parametrize("signs", ["|", "_", "*", "<>", "`"])
def test_markdown_without_its_escapes_is_noticed(signs: str) -> None:
    text = markdown(TABLE)
    broken = re.sub(rf"\\([{signs}])", r"\1", text)
    assert broken != text
    assert _markdown(broken)[0] != _markdown(text)[0]


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Co", "Cn", "Z")), min_size=1))
def test_any_text_survives_every_form(text: str) -> None:
    table = Table((Column("x"), Column("y")), ((Field(text), Field("1", (text,))),), (text,))
    assert list(csv.reader(StringIO(csv_text(table))))[1][0] == text
    assert _html(html(table)).parts["tbody"] == [[text, "1a"]]
    rows, _ = _markdown(markdown(table))
    assert rows[1] == [text, "1a"]
    assert len(_latex_rows(latex(table))) == 2


def test_letters_go_on_after_z_and_each_sentence_has_one() -> None:
    lines = tuple((Field(str(number), (f"Sentence {number}.", "Said of all.")),) for number in range(30))
    letters = Table((Column("x"),), lines).letters()
    assert len(letters) == 31
    assert [letters[f"Sentence {number}."] for number in (0, 1, 24, 25, 26, 29)] == ["a", "c", "z", "aa", "ab", "ae"]
    assert letters["Said of all."] == "b"
    assert len(set(letters.values())) == 31


def test_people_get_no_column_that_tells_nothing_and_usual_values_once() -> None:
    columns = (Column("a"), Column("empty"), Column("marked"), Column("batch norm", usual="running"), Column("budget"))
    table = Table(columns, tuple((Field(x), Field(NONE), Field(NONE, ("Why.",)), Field("running"), Field("full")) for x in "12"))
    shown = table.for_people()
    assert [column.name for column in shown.columns] == ["a", "marked", "budget"]
    assert shown.remarks == ("In every line, batch norm: running.",)
    other = Table(columns, (*table.lines, (Field("3"), Field(NONE), Field(NONE), Field("support"), Field("full"))))
    assert [column.name for column in other.for_people().columns] == ["a", "marked", "batch norm", "budget"]


def test_a_table_without_notes_is_only_a_table() -> None:
    table = Table((Column("x"),), ((Field("1"),),))
    assert markdown(table) == "| x |\n| :-- |\n| 1 |\n"
    assert "tfoot" not in html(table)
    assert "footnotesize" not in latex(table)
    assert set(FORMATS) == {"md", "latex", "csv", "html"}
