"""How every page looks, light and dark, narrow and printed; and the script of its copy buttons."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1b1f24; --quiet: #59636e; --line: #d1d9e0; --soft: #f4f6f8; --mark: #0757ba;
  --fine: #116329; --wrong: #b3141d; --unsure: #8a4600; --nothing: #59636e;
}
@media (prefers-color-scheme: dark) { :root {
  --paper: #0d1117; --ink: #e6edf3; --quiet: #9aa4af; --line: #30363d; --soft: #161b22; --mark: #79b8ff;
  --fine: #56d364; --wrong: #ff938a; --unsure: #f0b061; --nothing: #9aa4af;
} }
@media print { :root {
  color-scheme: light;
  --paper: #fff; --ink: #000; --quiet: #444; --line: #bbb; --soft: #f4f6f8; --mark: #0757ba;
  --fine: #116329; --wrong: #b3141d; --unsure: #8a4600; --nothing: #59636e;
} }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
h3 { font-size: .95rem; margin: 1rem 0 .25rem; overflow-wrap: anywhere; }
p { margin: .25rem 0; overflow-wrap: anywhere; }
code, pre, .number { font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: 13px; }
code { overflow-wrap: anywhere; }
.quiet { color: var(--quiet); }
.fine { color: var(--fine); } .wrong { color: var(--wrong); }
.unsure { color: var(--unsure); } .nothing { color: var(--nothing); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--quiet); font-weight: normal; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.text { overflow-wrap: break-word; }
td code { overflow-wrap: normal; }
td:first-child code { white-space: nowrap; }
td.text:last-child, td:last-child code { overflow-wrap: anywhere; }
td.text:last-child { min-width: 8rem; }
td .bar { max-width: 24rem; margin: .35rem 0 .15rem; }
.bar { display: flex; height: .7rem; min-width: 5rem; border-radius: 2px; overflow: hidden; background: var(--soft); }
.bar span { background: currentColor; }
.bar span + span { border-left: 1px solid var(--paper); }
.sides { display: grid; grid-template-columns: fit-content(22rem) 1fr 1fr; gap: 0 1.25rem; }
.sides > * { padding: .15rem 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; min-width: 4rem; }
.sides .head { border-top: 0; color: var(--quiet); }
mark { color: inherit; background: none; text-decoration: underline 2px var(--wrong); text-underline-offset: 3px; }
.sides b { font-weight: normal; color: var(--quiet); display: none; }
.command { display: flex; gap: .5rem; align-items: start; margin: .35rem 0; }
.command code { flex: 1; padding: .35rem .6rem; background: var(--soft); border: 1px solid var(--line);
  border-radius: 6px; }
button { font: inherit; font-size: 13px; color: inherit; background: var(--soft); border: 1px solid var(--line);
  border-radius: 6px; padding: .3rem .7rem; cursor: pointer; }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
.steps { display: grid; grid-template-columns: minmax(2.5rem, max-content) minmax(3rem, max-content) 1fr max-content;
  gap: .1rem .75rem; align-items: center; }
.map { display: grid; gap: 2px; width: max-content; margin: .6rem 0; }
.map i { font-style: normal; width: 1.4rem; height: 1.2rem; line-height: 1.2rem; text-align: center; font-size: 12px;
  background: var(--soft); }
.map i.first { outline: 2px solid var(--ink); outline-offset: -1px; font-weight: bold; }
pre { overflow-x: auto; padding: .6rem; background: var(--soft); border-radius: 6px; margin: .35rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { padding: .9rem; }
  .sides { grid-template-columns: 1fr; }
  .sides .head { display: none; }
  .sides > * { border-top: 0; padding: 0; }
  .sides .key { border-top: 1px solid var(--line); padding-top: .25rem; }
  .sides b { display: inline-block; width: 5.5em; }
  .bar { min-width: 2.5rem; }
}
@page { margin: 12mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 11px; print-color-adjust: exact; }
  code, pre, .number { font-size: 10px; }
  button { display: none; }
  pre { white-space: pre-wrap; }
  section { break-inside: avoid-page; }
  h2, h3 { break-after: avoid; }
}
"""

SCRIPT: Final = """
for (const button of document.querySelectorAll("button[data-copy]")) button.addEventListener("click", async () => {
  const code = button.previousElementSibling;
  const said = (text) => { button.textContent = text; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
  try {
    await navigator.clipboard.writeText(code.textContent);
    said("Copied");
  } catch {
    const range = document.createRange();
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    said(document.execCommand("copy") ? "Copied" : "Press Ctrl-C");
  }
});
addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details")) each.open = true; });
"""

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; img-src data:; "
    f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)
"""What a page may load and run: its own style and its one script, whatever text a build put into it."""
