"""HTML in titles and texts to plain text: tags, entities, scripts and styles."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import polars as pl

MAX_ROUNDS = 3
"""Text that was escaped more than once is unpacked this often."""
MAX_OPEN_TAGS = 20
"""Text with more tags that never end than this is broken; the parser would take very long."""
HIDDEN = ("script", "style", "template")
"""Elements whose content is no text."""
_ELEMENT_NAMES = """
a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big blink
blockquote body br button canvas caption center cite code col colgroup data datalist dd del details
dfn dialog dir div dl dt em embed fieldset figcaption figure font footer form frame frameset h1 h2
h3 h4 h5 h6 head header hgroup hr html i iframe img input ins kbd label legend li link main map mark
marquee menu meta meter nav nobr noframes noscript object ol optgroup option output p param picture
plaintext pre progress q rp rt ruby s samp script section select slot small source span strike
strong style sub summary sup svg table tbody td template textarea tfoot th thead time title tr track
tt u ul var video wbr xmp
"""
_ELEMENTS = frozenset(_ELEMENT_NAMES.split())
_MARKUP = re.compile(r"[<&]")
_CUT_OFF = re.compile(
    r"<(/?[a-z][a-z0-9]+|[a-z](?=\s))(\s[^<>]*)?/?$|<!--(?:(?!-->).)*$", re.IGNORECASE | re.DOTALL
)
"""A tag or comment at the end of a text that was cut off within it."""
_LONE_BRACKET = re.compile(r"<(?=[^<>\"']*(?:<|$))")
"""A bracket that another one follows; the parser would look for its end again and again."""
_ANY_TAG = re.compile(r"<[^<>]*>")


class _TextParser(HTMLParser):
    """Collects the text of HTML; a name in angle brackets that is no element stays text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in HIDDEN and not self._hidden:
            self._hidden = tag
        self._add_tag(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add_tag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""
        if is_element(tag):
            self._add(" ")
        else:
            self._add(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self._add(data)

    def handle_comment(self, data: str) -> None:
        self._add(" ")

    def unknown_decl(self, data: str) -> None:  # <![CDATA[text]]>
        self._add(data.removeprefix("CDATA["))

    def _add_tag(self, tag: str) -> None:
        self._add(" " if is_element(tag) else self.get_starttag_text() or "")

    def _add(self, text: str) -> None:
        if not self._hidden:
            self.parts.append(text)


def is_element(tag: str) -> bool:
    """Whether a tag is of HTML, a custom element (``a-b``) or of a namespace (``o:p``)."""
    return tag in _ELEMENTS or "-" in tag or ":" in tag


def plain_text(text: str) -> str:
    """Turn HTML into plain text with single spaces; text without markup is returned as it is."""
    if not _MARKUP.search(text):
        return text
    original = text
    for _ in range(MAX_ROUNDS):
        parsed = _parse(text) if "<" in text else html.unescape(text)
        if parsed == text:
            break
        text = parsed
    return text if text == original else " ".join(text.split())


def plain_texts(texts: pl.Series) -> pl.Series:
    """:func:`plain_text` of each string of a column; null stays null."""
    rows = texts.str.contains("[<&]").fill_null(False).arg_true()
    if not len(rows):
        return texts
    cleaned = pl.Series([plain_text(text) for text in texts.gather(rows)], dtype=pl.String)
    return texts.clone().scatter(rows, cleaned)


def _parse(text: str) -> str:
    cut = _CUT_OFF.search(text)
    if cut and (cut[1] is None or is_element(cut[1].strip("/").lower())):
        text = text[: cut.start()]
    if text.count("<") - text.count(">") > MAX_OPEN_TAGS:
        return _strip_tags(text)
    parser = _TextParser()
    try:
        parser.feed(_LONE_BRACKET.sub("&lt;", text))
        parser.close()
    except AssertionError:  # html.parser refuses broken declarations such as "<![x"
        return _strip_tags(text)
    return "".join(parser.parts)


def _strip_tags(text: str) -> str:
    return html.unescape(_ANY_TAG.sub(" ", text))
