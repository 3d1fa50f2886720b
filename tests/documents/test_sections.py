"""Documents become titled sections of plain paragraphs."""

import pytest

from dogeared.documents.sections import Section, read_sections
from dogeared.errors import DataError


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pdf(*lines, title=None):
    """A PDF of one page, written by hand: a line of text each, and a table of where its objects stand."""
    drawn = "BT /F1 12 Tf 72 700 Td 14 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Title ({title or ''}) >>",
    ]
    body, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    count = len(objects) + 1
    end = f"xref\n0 {count}\n0000000000 65535 f \n{table}trailer\n<< /Size {count} /Root 1 0 R /Info 6 0 R >>\n"
    return (body + end + f"startxref\n{len(body)}\n%%EOF\n").encode()


def test_text_is_cut_at_blank_lines_and_named_by_its_file(tmp_path):
    path = write(tmp_path / "notes.txt", "\ufeffOne line\r\nand more.\r\n\r\n \nNext.\n")
    assert read_sections(path) == [Section(title="notes", paragraphs=("One line and more.", "Next."))]


def test_chinese_lines_are_joined_without_a_blank(tmp_path):
    path = write(tmp_path / "a.txt", "\u5c45\u91cc\u592b\u4eba\n\u751f\u4e8e\u534e\u6c99\u3002\n")
    assert read_sections(path)[0].paragraphs == ("\u5c45\u91cc\u592b\u4eba\u751f\u4e8e\u534e\u6c99\u3002",)


def test_markdown_loses_its_marks_and_keeps_its_headings(tmp_path):
    text = (
        "---\nlayout: page\n---\n# Marie *Curie*\n\nBorn in **Warsaw**, [see](http://x.example).\nShe won.\n\n"
        "## Prizes\n\n- Physics `1903`\n- Chemistry\n\n| year | prize |\n|---|---|\n| 1903 | physics |\n\n"
        "```\ncode here\n```\n"
    )
    assert read_sections(write(tmp_path / "a.md", text)) == [
        Section(title="Marie Curie", paragraphs=("Born in Warsaw, see. She won.",)),
        Section(
            title="Marie Curie: Prizes",
            paragraphs=("Physics 1903", "Chemistry", "year | prize", "1903 | physics", "code here"),
        ),
    ]


def test_markdown_without_a_first_heading_is_named_by_its_file(tmp_path):
    assert [one.title for one in read_sections(write(tmp_path / "b.md", "intro\n\n## Part\n\nbody\n"))] == [
        "b",
        "b: Part",
    ]


def test_html_keeps_what_a_reader_sees_in_its_order(tmp_path):
    text = (
        "<html><head><title>Tea &amp; rice</title><style>p {}</style></head><body><nav>Menu</nav>"
        "<div>Hot <b>green</b> tea<p>is good.</p>Always<!-- not this --></div><script>no()</script>"
        "<h2>More</h2><table><tr><td>1</td><td>cup</td></tr></table>a<br>b<ul><li>x<li>y</ul></body></html>"
    )
    assert read_sections(write(tmp_path / "a.html", text)) == [
        Section(title="Tea & rice", paragraphs=("Hot green tea", "is good.", "Always")),
        Section(title="Tea & rice: More", paragraphs=("1 cup", "a b", "x", "y")),
    ]


def test_markdown_keeps_what_is_written_in_html(tmp_path):
    text = (
        '<h1 align="center">Tea</h1>\n\nGreen<br>tea<BR />is good.\n\n| a | b |\n|---|---|\n| x<br>y | z |\n\n'
        "<details><summary>More</summary>\nAnna grew it.\n</details>\n\n<!-- not this -->\n\n"
        '<div align="center">\n\nIn *Ghent*.\n\n</div>\n\n<script>\nno()\n</script>\n\n'
        "<table>\n<tr>\n\n<td>hot</td><td>cold</td>\n\n</tr>\n</table>\n"
    )
    assert read_sections(write(tmp_path / "a.md", text)) == [
        Section(
            title="Tea",
            paragraphs=("Green tea is good.", "a | b", "x y | z", "More", "Anna grew it.", "In Ghent.", "hot cold"),
        )
    ]


@pytest.mark.parametrize(
    "written",
    [
        "<ruby>東<rt>とう</rt>京<rt>きょう</rt></ruby>は都。",
        "<ruby>東京<rp>(</rp><rt>とう<b>きょう</b></rt><rp>)</rp></ruby>は都。",
        "<ruby>東京<rt>とうきょう</ruby>は都。",
    ],
)
def test_readings_above_characters_are_no_part_of_the_text(tmp_path, written):
    assert read_sections(write(tmp_path / "a.html", f"<p>{written}</p>"))[0].paragraphs == ("東京は都。",)
    assert read_sections(write(tmp_path / "a.md", f"{written}\n"))[0].paragraphs == ("東京は都。",)


def test_markdown_that_only_looks_like_a_reading_is_kept(tmp_path):
    assert read_sections(write(tmp_path / "a.md", "A list<rt> holds more.\n"))[0].paragraphs == ("A list holds more.",)


def test_html_in_a_form_is_kept_and_its_controls_are_not(tmp_path):
    text = (
        "<body><form id=aspnetForm><h1>Tea</h1><p>Anna grew it.</p><label>Name</label><input value=x>Age"
        "<select><option>old</option></select><textarea>typed</textarea><button>Send</button>years</form></body>"
    )
    assert read_sections(write(tmp_path / "a.html", text)) == [
        Section(title="Tea", paragraphs=("Anna grew it.", "Name Age years"))
    ]


def test_html_nested_deeper_than_pythons_stack_is_read(tmp_path):
    text = "<html><head><title>T</title></head><body>" + "<div>" * 3000 + "deep" + "</div>" * 3000 + "</body></html>"
    assert read_sections(write(tmp_path / "a.html", text))[0].paragraphs == ("deep",)


def test_pdf_gives_its_text_and_title_and_joins_broken_words(tmp_path):
    path = write(tmp_path / "a.pdf", pdf("The infor-", "mation is here.", title="A paper"))
    assert read_sections(path) == [Section(title="A paper", paragraphs=("The information is here.",))]


def test_pdf_without_a_title_is_named_by_its_file(tmp_path):
    assert read_sections(write(tmp_path / "report.pdf", pdf("Text.")))[0].title == "report"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"caf\xe9", "UTF-8"),
        ("a.md", "", "found none"),
        ("a.md", "# Only a heading\n", "found none"),
        ("a.pdf", b"not a pdf", "cannot be read"),
        ("a.pdf", pdf(), "text recognition"),
        ("a.docx", "x", "expected a document"),
    ],
)
def test_a_document_that_gives_no_text_is_an_error_that_names_it(tmp_path, name, content, reason):
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=reason) as raised:
        read_sections(path)
    assert raised.value.file == str(path)


def test_a_missing_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    with pytest.raises(DataError, match=r"dogeared\[files\]"):
        read_sections(write(tmp_path / "a.pdf", pdf("Text.")))
