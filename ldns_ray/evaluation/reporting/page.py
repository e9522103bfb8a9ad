"""The page around a report, and how it looks: on screens light and dark, in narrow frames, and on paper."""

from __future__ import annotations

import base64
import hashlib

from ldns_ray.evaluation.reporting.html import Content, Html, element

SCRIPT = """
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (!link || window === window.top) return;
  event.preventDefault();
  document.getElementById(link.getAttribute("href").slice(1)).scrollIntoView();
});
"""
"""Browsers refuse to follow links within a page in a sandboxed frame of a blob, in which MLflow shows artifacts. Where
scripts do not run, all else works.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1c2126; --soft: #59636e; --line: #d8dde3; --ground: #ffffff; --panel: #f5f7f9;
  --link: #005b91; --warn-line: #b8860b; --warn: #fff7e0; --shade: 213 94 0; --deep: 1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ec; --soft: #a3adb8; --line: #3a424b; --ground: #15191d; --panel: #1e2429;
    --link: #7cc4f2; --warn-line: #d9a520; --warn: #332a10; --shade: 240 120 30; --deep: 1.25;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 3.2rem; }
body {
  margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 88rem;
  background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: break-word;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; margin: 0 0 .7rem; padding-top: .3rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
p { margin: 0 0 .7rem; max-width: 75ch; }
a { color: var(--link); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
section { margin-bottom: 2.4rem; }
code, pre { font: .86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }

.reference { color: var(--soft); margin: .25rem 0 0; }
nav {
  position: sticky; top: 0; z-index: 3; margin: .9rem -1.25rem 1.2rem; padding: .45rem 1.25rem;
  background: var(--ground); border-bottom: 1px solid var(--line); overflow-x: auto;
}
nav ul { display: flex; gap: 1.1rem; list-style: none; margin: 0; padding: 0; white-space: nowrap; font-size: .9rem; }

.verdict { display: flex; gap: 1.1rem; align-items: flex-start; margin-bottom: .9rem; }
.verdict p { font-size: 1.05rem; margin: 0; }
.verdict .hero {
  flex: none; font-size: 2.3rem; font-weight: 650; line-height: 1; padding: .55rem .8rem;
  border: 1px solid var(--line); border-radius: 8px; font-variant-numeric: tabular-nums;
}
.warnings {
  background: var(--warn); border-left: 4px solid var(--warn-line); border-radius: 4px;
  padding: .6rem .9rem; margin: 0 0 1rem;
}
.warnings ul { margin: 0; padding-left: 1.2rem; }

.scroll { overflow-x: auto; max-width: 100%; margin-bottom: .8rem; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { font-weight: 600; }
thead th { vertical-align: bottom; border-bottom: 2px solid var(--line); line-height: 1.25; }
th:first-child, .facts td, .text { text-align: left; }
tbody tr:last-child > * { border-bottom-color: transparent; }
.unit { font-weight: 400; color: var(--soft); white-space: nowrap; }
.metrics td { white-space: nowrap; }
.measured { display: grid; grid-template-columns: max-content max-content; column-gap: .4rem; justify-content: end; align-items: baseline; }
.measured > .beside { text-align: left; min-width: 5.7em; }
.metrics th:first-child { position: sticky; left: 0; z-index: 1; background: var(--ground); min-width: 7.5rem; max-width: 14rem; }
.judged-row tbody tr:first-child th { box-shadow: inset 4px 0 var(--link); }
.judged-column thead th:nth-child(2) { border-bottom-color: var(--link); }
.judged-row tbody tr:first-child th { padding-left: .9rem; }
.measured b { font-size: 1.05rem; font-weight: 650; line-height: 1.3; }
.beside, .floor { color: var(--soft); font-size: .92em; }
.none { color: var(--soft); }
.level-1 { background: rgb(var(--shade) / calc(.08 * var(--deep))); }
.level-2 { background: rgb(var(--shade) / calc(.17 * var(--deep))); }
.level-3 { background: rgb(var(--shade) / calc(.28 * var(--deep))); }
.level-4 { background: rgb(var(--shade) / calc(.42 * var(--deep))); }
:is(.level-3, .level-4) :is(.beside, .floor) { color: inherit; }
.legend { font-size: .85rem; color: var(--soft); max-width: none; margin-bottom: 1.4rem; }
.shade { padding: .1rem .5rem; border: 1px solid var(--line); margin-right: -1px; color: var(--ink); white-space: nowrap; }

figure { margin: 0 0 1.8rem; }
figure h3 a { color: inherit; }
figure img {
  display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; padding: .5rem;
}
figcaption { color: var(--soft); font-size: .9rem; max-width: 85ch; margin-top: .4rem; }

.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; align-items: start; }
.cards article { border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1rem .3rem; min-width: 0; }
.cards .facts { width: 100%; }
.facts th { color: var(--soft); font-weight: 500; white-space: nowrap; padding-left: 0; }
.facts td { overflow-wrap: anywhere; }
.changed { border-left: 4px solid var(--link); padding-left: .9rem; margin-bottom: 1rem; }
.changed .facts :is(th, td) { color: var(--ink); font-weight: 600; }
summary { cursor: pointer; color: var(--link); margin-bottom: .5rem; }
pre {
  background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; margin: 0;
  white-space: pre-wrap; overflow-wrap: anywhere; user-select: all;
}
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: .9rem 2rem; margin: 0; }
dt { font-weight: 600; }
dd { margin: 0; color: var(--soft); }

@media (max-width: 56rem) {
  body { padding: 1rem .9rem 3rem; }
  nav { margin-inline: -.9rem; padding-inline: .9rem; }
  .verdict { flex-direction: column; gap: .6rem; }
  th, td { padding-inline: .5rem; }
}
@media print {
  @page { margin: 14mm; }
  :root {
    --ink: #000; --soft: #444; --line: #bbb; --ground: #fff; --panel: #f5f5f5; --link: #000;
    --warn: #fff7e0; --shade: 213 94 0; --deep: 1;
  }
  body { padding: 0; font-size: 10pt; max-width: none; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  nav { display: none; }
  .scroll { overflow: visible; }
  .metrics { font-size: 7pt; }
  .metrics th:first-child { position: static; min-width: 0; }
  th, td { padding: .25rem .3rem; }
  .measured { column-gap: .2rem; }
  .measured b { font-size: 1.15em; }
  .measured > .beside { min-width: 0; }
  .judged-column:has(th:nth-child(6)) .measured { grid-template-columns: max-content; justify-items: end; }
  figure, tr, .cards article, .warnings, dl > div { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  figure img { max-height: 200mm; border: 0; padding: 0; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""


def page(title: str, *body: Content) -> str:
    """A whole HTML document. The browser loads nothing for it from anywhere, whatever is in it."""
    script = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=Html(policy)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    content = element("body", body, element("script", Html(SCRIPT)))
    return f"<!DOCTYPE html>\n{element('html', head, content, lang='en')}\n"
