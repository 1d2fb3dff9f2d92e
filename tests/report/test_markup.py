"""Text from strangers stays text in a page, and the page loads nothing."""

import json
import re

from frcnn.report import markup
from frcnn.report.markup import Markup, data, join, page, table, tag

EVIL = "</script><script>alert(1)</script>\x1b[31m"


def test_text_and_attributes_are_escaped():
    assert tag("p", "a < b", title='"x"') == '<p title="&quot;x&quot;">a &lt; b</p>'
    assert tag("td", EVIL) == "<td>&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[31m</td>"
    assert join(["<", Markup("<br>")]) == "&lt;<br>"


def test_attributes_without_a_value():
    assert tag("a", hidden=True, class_=None, open=False, data_x="1") == '<a hidden data-x="1"></a>'


def test_json_cannot_end_its_element():
    element = data("numbers", {"name": EVIL})
    assert element.count("<") == 2  # of the script's own tags
    assert json.loads(re.sub("<.*?>", "", element)) == {"name": EVIL}


def test_a_table_names_its_rows():
    text = table(["class", "AP"], [["<cat>", "0.5"]], "scores")
    assert '<th scope="row">&lt;cat&gt;</th><td>0.5</td>' in text


def test_a_page_is_whole_and_loads_nothing():
    text = page("title", "line", [("one", "One", tag("p", "text"))], data("numbers", {}))
    assert 'aria-controls="part-one"' in text and '<section id="part-one"' in text
    assert "$" not in re.sub(r"<script>.*?</script>", "", text, flags=re.S)  # every place is filled
    assert "default-src 'none'" in text
    links = re.findall(r"""(?:src|href)=["']([^"']*)""", text)
    assert links == ["#one"] and "@import" not in text and "url(" not in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_a_long_text_is_cut():
    assert len(markup.text("x" * 10_000)) < 1100
