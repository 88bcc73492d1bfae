"""Elements of an HTML page that needs no network: its style, paragraphs, tables and figures. All text is escaped."""

from collections.abc import Iterable
from html import escape

STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--warn:#c60}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem}
h1{font-size:1.7rem;line-height:1.2;margin:.4em 0}
h2{font-size:1.2rem;margin:2em 0 .6em;padding-bottom:.2em;border-bottom:1px solid var(--line)}
img,svg{width:100%;height:auto;display:block}img{border-radius:.3rem}
figure{margin:0;padding:.8rem;border:1px solid var(--line);border-radius:.6rem;background:var(--soft)}
figure h3{font-size:1rem;margin:0 0 .3em;display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1em}
figcaption{opacity:.8;font-size:.875rem;margin-top:.4em}
svg text{fill:currentColor}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
h1,h3,td,p,figcaption{overflow-wrap:anywhere}.scroll td{overflow-wrap:normal}
td,th{padding:.2rem .9rem .2rem 0;text-align:left;vertical-align:top}
.facts td{overflow-wrap:anywhere}
.warning{border-left:4px solid var(--warn);padding:.5rem .8rem;background:#c602;border-radius:0 .4rem .4rem 0}
.legend{margin:.3em 0 0;font-size:.875rem;line-height:1.7}
.legend span{display:inline-block;border-left:1em solid;padding:0 .4em;margin-right:.6em}
details{margin:.6em 0}summary{cursor:pointer;padding:.2em 0}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(20rem,100%),1fr));gap:1rem;align-items:start}
.tall{max-width:30rem}
@media(max-width:40rem){td,th{font-size:.875rem}}
"""


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` is its class in STYLE."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(rows: Iterable[tuple], head: tuple[str, ...] = (), kind: str = "") -> str:
    """Rows (name, cell, cell, ...), where None is shown as a dash, under the titles `head`; wide ones scroll."""
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    lines = [f"<tr>{titles}</tr>"] if head else []
    for name, *cells in rows:
        values = "".join(f"<td>{escape(str('-' if cell is None else cell))}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(str(name))}</th>{values}</tr>')
    return f'<div class="{kind or "scroll"}"><table>{"".join(lines)}</table></div>'


def side_by_side(figures: Iterable[str]) -> str:
    """Figures in as many columns as there is room for; "" if there are none."""
    content = "".join(figures)
    return f'<div class="charts">{content}</div>' if content else ""


def folded(title: str, content: str) -> str:
    """An element that shows its title alone until it is opened."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def figure(content: str, caption: str = "", title: str = "", value: str = "", kind: str = "") -> str:
    """An element with a caption below it, and above it a title with a value beside it; "" if `content` is."""
    if not content:
        return ""
    head = f"<h3><span>{escape(title)}</span><span>{escape(value)}</span></h3>" if title else ""
    foot = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    attribute = f' class="{kind}"' if kind else ""
    return f"<figure{attribute}>{head}{content}{foot}</figure>"
