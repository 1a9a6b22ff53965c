"""Narrative is kept as XHTML, and nothing active survives in it."""

from __future__ import annotations

from xml.etree import ElementTree

from cda_shell import in_section, only, read
from hypothesis import given, settings
from hypothesis import strategies as st

ALLOWED = {"div", "p", "span", "ul", "ol", "li", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "sub",
           "sup", "br", "a", "b"}  # fmt: skip


def div(text: str) -> str:
    section = only(read(in_section("", text=text)), "Composition")["section"][0]
    return str(section["text"]["div"])


def test_tables_lists_and_links_are_kept() -> None:
    html = div(
        '<table border="1" onclick="x()"><caption>C</caption><thead><tr><th colspan="2">H</th></tr></thead><tbody>'
        '<tr ID="r1" styleCode="Bold"><td>1 &lt; 2</td><td><content ID="c1">x</content><br/>y</td></tr></tbody></table>'
        '<list listType="ordered"><item>one</item></list><linkHtml href="https://example.org/?a=1&amp;b=2">go</linkHtml>'
    )
    assert '<table><caption>C</caption><thead><tr><th colspan="2">H</th></tr></thead>' in html
    assert '<tr id="r1"><td>1 &lt; 2</td><td><span id="c1">x</span><br/>y</td></tr>' in html
    assert "<ol><li>one</li></ol>" in html
    assert '<a href="https://example.org/?a=1&amp;b=2">go</a>' in html


def test_nothing_active_survives() -> None:
    html = div(
        '<script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script><iframe src="http://x"/>'
        '<linkHtml href="javascript:alert(1)">a</linkHtml><linkHtml href="data:text/html,x">b</linkHtml>'
        '<paragraph onmouseover="x" style="behavior:url(x)">c</paragraph><renderMultiMedia referencedObject="m"/>'
        '<content ID="&quot;&gt;&lt;script&gt;">d</content>'
    )
    for word in ("<script", "javascript:", "data:", "onmouseover", "style", "iframe"):
        assert word not in html
    ElementTree.fromstring(html)


def test_section_without_text_says_that_it_is_empty() -> None:
    section = only(read(in_section("")), "Composition")["section"][0]
    assert section["text"]["status"] == "empty"
    assert section["emptyReason"]["coding"][0]["code"] == "unavailable"


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.text(alphabet="ab<>&\"' 中\u00a0", max_size=8).map(
            lambda text: text.replace("&", "&amp;").replace("<", "&lt;")
        ),
        lambda inside: st.builds(
            lambda name, parts: f"<{name}>{''.join(parts)}</{name}>",
            st.sampled_from(
                ["paragraph", "content", "list", "item", "table", "tr", "td", "caption", "footnoteRef", "x"]
            ),
            st.lists(inside, max_size=3),
        ),
        max_leaves=12,
    )
)
def test_any_narrative_gives_well_formed_xhtml_of_allowed_elements(text: str) -> None:
    root = ElementTree.fromstring(div(text))
    assert {one.tag.rpartition("}")[2] for one in root.iter()} <= ALLOWED
