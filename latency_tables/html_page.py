"""What pages with a picture have in common: style, and a tip for the mark that is pointed at. They need no network."""

from __future__ import annotations

from html import escape

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 900px; color: #222; background: #fff; }}
svg {{ width: 100%; height: auto; }}
.grid {{ stroke: #e4e4e4; }} .axis {{ fill: #444; font-size: 13px; }}
.point:hover, .point:focus {{ stroke: #222; stroke-width: 2.5; outline: none; }}
#tip {{ position: fixed; display: none; background: #222; color: #fff; padding: .5em .7em; border-radius: 5px;
  font-size: 13px; white-space: pre-line; max-width: 26em; pointer-events: none; }}
.legend span {{ margin-right: 1.4em; white-space: nowrap; }}
th {{ text-align: left; padding-right: 1.5em; font-weight: 600; vertical-align: top; }}
</style></head><body>
<h1>{title}</h1>
{body}
<div id="tip" role="status"></div>
<script>
const tip = document.getElementById("tip");
function show(mark, x, y) {{
  tip.textContent = mark.dataset.text; tip.style.display = "block";
  tip.style.left = Math.min(x + 14, innerWidth - tip.offsetWidth - 8) + "px";
  tip.style.top = Math.min(y + 14, innerHeight - tip.offsetHeight - 8) + "px";
}}
for (const mark of document.querySelectorAll(".point")) {{
  mark.addEventListener("mousemove", e => show(mark, e.clientX, e.clientY));
  mark.addEventListener("focus", () => {{ const b = mark.getBoundingClientRect(); show(mark, b.right, b.bottom); }});
  for (const name of ["mouseleave", "blur"]) mark.addEventListener(name, () => tip.style.display = "none");
}}
</script></body></html>
"""


def html_page(title: str, body: str) -> str:
    """A whole page. Elements of class `point` show their attribute `data-text` where they are pointed at or focused.

    Args:
        title: as plain text.
        body: HTML, in which everything foreign is escaped.
    """
    return PAGE.format(title=escape(title), body=body)
