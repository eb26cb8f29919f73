"""The report as one HTML page that needs nothing else: figures and style are inside, there is no script."""

import io
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from matplotlib import rc_context
from matplotlib.figure import Figure

from hyperderm.reports.ablation.content import Content
from hyperderm.reports.ablation.looks import WIDTH

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


def image(figure: Figure) -> Image:
    """Return a figure as SVG and PNG; equal figures give equal bytes."""
    svg, png = io.BytesIO(), io.BytesIO()
    with rc_context({"svg.hashsalt": "hyperderm", "svg.fonttype": "path"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    figure.savefig(png, format="png", dpi=figure.dpi)
    return Image(svg.getvalue(), png.getvalue(), min(1.0, figure.get_figwidth() / WIDTH))


def page(content: Content, images: Mapping[str, Image]) -> str:
    """Return the HTML; every text is escaped.

    Args:
        content: the report.
        images: a drawn figure for the name of every drawing.
    """
    from jinja2 import Environment, StrictUndefined  # only a report needs it

    source = files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return jinja.from_string(source).render(report=content, images=images)
