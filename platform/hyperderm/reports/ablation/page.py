"""The report as one HTML page that needs nothing else: figures and style are inside, there is no script."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from hyperderm.reports.ablation.content import Content

_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Image:
    """A drawn figure.

    Attributes:
        svg: for the page.
        png: for the files beside it.
        share: its width as a share of the page's, in (0, 1].
    """

    svg: bytes
    png: bytes
    share: float

    @property
    def address(self) -> str:
        """The SVG as a data address."""
        return f"data:image/svg+xml;base64,{b64encode(self.svg).decode('ascii')}"


def page(content: Content, images: Mapping[str, Image]) -> str:
    """Return the HTML; every text is escaped.

    Args:
        content: the report.
        images: a drawn figure for the name of every drawing.
    """
    from jinja2 import Environment, StrictUndefined  # only a report needs it

    source = files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(report=content, images=images)
