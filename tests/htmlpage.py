"""Pages of HTML as trees, for tests of what they hold."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Element:
    """A parsed element."""

    def __init__(self, tag, attributes, parent):
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children = []
        self.texts = []

    @property
    def text(self):
        return "".join(c if isinstance(c, str) else c.text for c in self.texts)

    def all(self, tag, css=None):
        """Return the elements below of that tag and class, in order."""
        found = []
        for child in self.children:
            if child.tag == tag and (
                css is None or css in child.attributes.get("class", "").split()
            ):
                found.append(child)
            found += child.all(tag, css)
        return found

    def one(self, tag, css=None):
        (found,) = self.all(tag, css)
        return found


class Parser(HTMLParser):
    """Builds elements and notes tags that are not closed in order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = self.here = Element("", {}, None)

    def handle_starttag(self, tag, attrs):
        element = self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.here = element

    def handle_startendtag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        element = Element(tag, dict(attrs), self.here)
        self.here.children.append(element)
        self.here.texts.append(element)
        return element

    def handle_endtag(self, tag):
        assert self.here.tag == tag, f"</{tag}> closes <{self.here.tag}>"
        self.here = self.here.parent

    def handle_data(self, data):
        self.here.texts.append(data)


def tree(page: str) -> Element:
    """Return the root of a page, all of whose tags are closed in order."""
    parser = Parser()
    parser.feed(page)
    parser.close()
    assert parser.here is parser.root, f"<{parser.here.tag}> is not closed"
    return parser.root


def data_of(page: str) -> str:
    """Return the document that is embedded in a page, as text."""
    (found,) = re.findall(r'<script type="application/json" id="document">(.*?)</script>', page)
    return found


def without_data(page: str) -> str:
    """Return a page without the document that is embedded in it."""
    return page.replace(data_of(page), "{}")


def keep_all(element):
    for child in element.children:
        yield child
        yield from keep_all(child)


def skeleton(element):
    """Return tags and the names of attributes, without any text or value."""
    return [(each.tag, sorted(each.attributes)) for each in keep_all(element)]


def percent(text: str) -> float:
    assert text.endswith("%")
    return float(text.removesuffix("%")) / 100


def cells(table: Element):
    """Return the texts of the cells in the body of a table."""
    rows = table.one("tbody").all("tr")
    return [[cell.text for cell in row.children if cell.tag in ("td", "th")] for row in rows]
