"""HTML pages without a server: one file each, which loads nothing but pictures next to it."""

import html
import string
from collections.abc import Iterable
from pathlib import Path

from cmpc_tf2.files import write_bytes

# Okabe and Ito's blue, vermilion and green, darker or lighter until they have a contrast of at least 3 to 1.
_STYLE = """
:root {
  color-scheme: light dark; --back: #ffffff; --text: #1a1a1a; --faint: #595959; --line: #c4c4c4; --link: #0b57a4;
  --mark0: #0b66a8; --mark1: #b84a00; --mark2: #00755a; --mark3: #8d3f70; --mark4: #5a5a5a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #15181c; --text: #ececec; --faint: #b3b3b3; --line: #4d535b; --link: #8cc4ff;
    --mark0: #6db8f0; --mark1: #ff9d5c; --mark2: #4fd0a8; --mark3: #eba0cb; --mark4: #c0c0c0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 80rem; padding: 1rem; background: var(--back); color: var(--text);
  font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: break-word;
}
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
a { color: var(--link); }
p, dl, .note { max-width: 46rem; }
.note, figcaption small { color: var(--faint); }
dl { display: grid; grid-template-columns: auto 1fr; gap: .2rem 1rem; } dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.scroll:focus-visible, a:focus-visible, input:focus-visible, select:focus-visible { outline: 3px solid var(--link); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
td { white-space: nowrap; } thead th { vertical-align: bottom; max-width: 8rem; }
tr > :first-child { text-align: left; padding-left: 0; min-width: 5.5rem; }
td small { display: block; color: var(--faint); font-size: .8rem; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: start; } .pair > * { min-width: 0; }
svg { display: block; flex: 1 1 20rem; width: 100%; max-width: 30rem; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--text); } svg .grid { stroke: var(--line); } svg .axis { stroke: var(--text); }
.mark0 { stroke: var(--mark0); fill: var(--mark0); } .mark1 { stroke: var(--mark1); fill: var(--mark1); }
.mark2 { stroke: var(--mark2); fill: var(--mark2); } .mark3 { stroke: var(--mark3); fill: var(--mark3); }
.mark4 { stroke: var(--mark4); fill: var(--mark4); }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); gap: 1rem; }
.samples.wide { grid-template-columns: minmax(0, 1fr); }
figure { margin: 0; min-width: 0; }
img { display: block; width: 100%; height: auto; }
.samples > figure { content-visibility: auto; contain-intrinsic-size: auto 20rem; }
.views { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(10rem, 45%), 1fr)); gap: .5rem; }
.views > figure { max-width: 24rem; }
@media (max-width: 30rem) { th, td { padding: .25rem .35rem; font-size: .9rem; } }
.stack { position: relative; } .stack img + img { position: absolute; inset: 0; }
form { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; margin: .5rem 0 1rem; }
input, select { font: inherit; max-width: 100%; }
"""
_PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<h1>$title</h1>
$body
</main>
</body>
</html>
""")
# Sorts and filters the figures of a page. Without scripts the controls stay hidden, and the order is that of the page.
_SORTING = string.Template("""<form id="controls" hidden>
<label>Order <select id="order">
$options
</select></label>
<label>Expression contains <input id="filter" type="search"></label>
<span id="count" role="status">$count samples</span>
</form>
<div id="samples" class="$classes">
$figures
</div>
<script>
const box = document.getElementById("samples"), figures = [...box.children];
const order = document.getElementById("order"), filter = document.getElementById("filter");
const arrange = () => {
  const key = order.value.replace("-", ""), sign = order.value.startsWith("-") ? -1 : 1;
  const sorted = [...figures].sort((a, b) => sign * (a.dataset[key] - b.dataset[key]));
  const text = filter.value.trim().toLowerCase();
  const shown = sorted.filter(figure => figure.dataset.expression.toLowerCase().includes(text));
  box.replaceChildren(...shown);
  document.getElementById("count").textContent = shown.length + " of " + figures.length + " samples";
};
order.onchange = filter.oninput = arrange;
document.getElementById("controls").onsubmit = event => event.preventDefault();
document.getElementById("controls").hidden = false;
</script>""")


def write_page(path: Path, title: str, parts: Iterable[str]):
    """Writes a page.

    Args:
        path: The file.
        title: Its title, as text.
        parts: Its contents, as HTML.
    """
    page = _PAGE.substitute(title=html.escape(title), style=_STYLE, body="\n".join(parts))
    # JSON can hold half a surrogate pair, UTF-8 cannot.
    write_bytes(path, page.encode("utf-8", "xmlcharrefreplace"))


def section(title: str, *parts: str) -> str:
    """A part of a page under a heading."""
    return f"<section>\n<h2>{html.escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def paragraph(text: str, note: bool = False) -> str:
    """A paragraph of text."""
    return f"<p{' class=note' * note}>{html.escape(text)}</p>"


def pair(*parts: str) -> str:
    """Parts next to each other where there is room."""
    return '<div class="pair">\n' + "\n".join(parts) + "\n</div>"


def definitions(entries: dict[str, str]) -> str:
    """A list of terms and what they are."""
    return "<dl>" + "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in entries.items()) + "</dl>"


def table(name: str, caption: str, heads: list[str], rows: Iterable[list[str]]) -> str:
    """A table that scrolls by itself where the page is narrow.

    Args:
        name: Its name for readers who do not see it; no other table of the page has it.
        caption: Its caption.
        heads: Heads of the columns.
        rows: Cells; the first is the head of its row. What follows a line break is shown small, below.
    """
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in heads)
    body = "\n".join(
        f'<tr><th scope="row">{html.escape(first)}</th>{"".join(map(_cell, cells))}</tr>' for first, *cells in rows
    )
    return (
        f'<div class="scroll" role="region" aria-label="{html.escape(name)}" tabindex="0">'
        f"<table><caption>{html.escape(caption)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(text: str) -> str:
    first, _, below = text.partition("\n")
    return f"<td>{html.escape(first)}{f' <small>{html.escape(below)}</small>' if below else ''}</td>"


def sortable(figures: Iterable[str], orders: dict[str, str], wide: bool = False) -> str:
    """Figures that can be sorted and filtered; at first they are in the order given.

    Args:
        figures: `<figure>` elements with `data-expression` and numbers in other data attributes.
        orders: Orders in words, by the attribute to sort by, with `-` for the largest first; the first is that of the
            figures.
        wide: One figure in a row.
    """
    figures = list(figures)
    options = "\n".join(f'<option value="{key}">{html.escape(text)}</option>' for key, text in orders.items())
    classes = "samples wide" if wide else "samples"
    return _SORTING.substitute(options=options, count=len(figures), classes=classes, figures="\n".join(figures))
