"""Read a report's page the way a strict reader would: the tree must close, tables come out as text."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """A parsed page: `ids`, `links`, `tags`, `text`, and `tables` as rows of cell texts."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.links, self.tags, self.tables = [], [], [], [], []
        self.attributes, self.words, self.cell = [], [], None
        self.feed(source)
        self.close()
        assert self.open == [], f"never closed: {self.open}"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if "id" in values:
            self.ids.append(values["id"])
        if "href" in values:
            self.links.append(values["href"])
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without a beginning"
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.tables[-1][-1].append(" ".join(self.cell))
            self.cell = None

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)
        if self.cell is not None and data.strip():
            self.cell.append(data.strip())

    def table(self, *titles):
        """The body rows of the one table whose header starts with `titles`."""
        found = [table for table in self.tables if tuple(table[0][: len(titles)]) == titles]
        assert len(found) == 1, (titles, [table[0] for table in self.tables])
        return found[0][1:]
