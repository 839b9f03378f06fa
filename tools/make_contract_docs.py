"""Write docs/contract.md from the contract as data, or check that it is up to date.

python tools/make_contract_docs.py            write
python tools/make_contract_docs.py --check    exit 1 when the file on disk differs
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from refruntime.contract import EXPORTS, Profile
from refruntime.contract.rules import Contract, Layout, Rule, Section, load_contract

TARGET = Path(__file__).resolve().parent.parent / "docs" / "contract.md"

NOTICE = "<!-- Written by `make docs` from refruntime/contract: edit the rules there, not this file. -->"

HOW_TO_READ = """\
The first letter under "source" is the source of the rule as a whole; further letters are those of the parts that the
text marks. A rule with options is a switch of the contract profile: the table of switches after the rules gives its
key, and its first option is the default. `refruntime contract --rule SL-5` shows one rule in a terminal, and
`refruntime contract --profile FILE` shows which options a profile chooses."""


def render(contract: Contract) -> str:
    """Return the whole document; the same contract always gives the same text."""
    parts = [f"# {contract.title}", NOTICE, contract.introduction, HOW_TO_READ, contents(contract.sections)]
    for section in contract.sections:
        parts.extend(render_section(contract, section))
    return "\n\n".join(parts) + "\n"


def contents(sections: Iterable[Section]) -> str:
    return "\n".join(f"- [{section.number}. {section.title}](#{anchor(section)})" for section in sections)


def anchor(section: Section) -> str:
    """Return the anchor that Markdown renderers such as GitHub's make of the heading."""
    heading = f"{section.number}. {section.title}".lower()
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def render_section(contract: Contract, section: Section) -> Iterator[str]:
    yield f"## {section.number}. {section.title}"
    if section.text:
        yield section.text
    if section.statuses:
        yield table(
            ("code", "name", "when"),
            ([str(int(status)), status.name, when] for status, when in section.statuses.items()),
        )
    for layout in section.layouts:
        yield f"### {layout.name}, {layout.size} bytes"
        yield layout_table(layout)
    if section.layouts:
        yield "### Rules"
    tabled = [rule for rule in section.rules if not rule.title]
    if tabled:
        yield rule_table(contract, tabled)
    for rule in section.rules:
        if rule.title:
            yield f"**{rule.title}.** `{rule.id}`, {rule.letters}; clarifies {', '.join(rule.clarifies)}."
            yield escape(rule.text)
    if section.number == 1:
        yield exports_listing()
    switches = switch_rows(section.rules)
    if switches:
        yield "Switches of the profile:"
        yield table(("key", "what it decides", "options, the first is the default"), switches)
    if section.pages:
        yield table(("sections", "pages"), ([row.sections, ", ".join(row.pages)] for row in section.pages))
    if section.closing:
        yield section.closing


def rule_table(contract: Contract, rules: Sequence[Rule]) -> str:
    see_also = {rule.id: ", ".join(other.id for other in contract.clarifications(rule.id)) for rule in rules}
    if any(see_also.values()):
        rows = ([rule.id, rule.letters, escape(rule.text), see_also[rule.id]] for rule in rules)
        return table(("id", "source", "rule", "see also"), rows)
    return table(("id", "source", "rule"), ([rule.id, rule.letters, escape(rule.text)] for rule in rules))


def exports_listing() -> str:
    width = max(len(export.signature) for export in EXPORTS) + 3
    lines = [f"{export.signature:<{width}}{export.wasm_signature}" for export in EXPORTS]
    return "\n".join(["```", *lines, "```"])


def layout_table(layout: Layout) -> str:
    rows = ([str(item.offset), item.type, f"`{item.name}`", item.note] for item in layout.fields)
    return table(("offset", "type", "field", "value"), rows)


def switch_rows(rules: Iterable[Rule]) -> list[list[str]]:
    meanings = {item.metadata["key"]: item.metadata["meaning"] for item in fields(Profile)}
    defaults = {item.metadata["key"]: item.default for item in fields(Profile)}
    rows = []
    for rule in rules:
        for key, options in rule.options.items():
            rows.append([f"`{key}`", meanings[key], ", ".join(f"`{option}`" for option in options)])
        for key in rule.values:
            rows.append([f"`{key}`", meanings[key], f"a value; the default is {value_text(key, defaults[key])}"])
    return rows


def value_text(key: str, value: object) -> str:
    if key == "SL-5.start":
        return f"`{value:#x}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value) or "the contract's own names"
    return f"`{value}`"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def escape(text: str) -> str:
    """Escape the asterisks that are neither code nor the emphasis around a rule's options."""
    pieces = re.split(r"(`[^`]*`)", text)
    joined = "".join(piece if piece.startswith("`") else piece.replace("*", "\\*") for piece in pieces)
    return re.sub(r"\\\*(options\b.*?)\\\*(?=\)[.,;]|$)", r"*\1*", joined)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/contract.md from the contract as data.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file differs")
    arguments = parser.parse_args()
    text = render(load_contract())
    if arguments.check:
        if TARGET.read_text(encoding="utf-8") != text:
            print("docs/contract.md differs from the rules; run `make docs`")
            return 1
        print("docs/contract.md is up to date")
        return 0
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text, encoding="utf-8", newline="\n")
    print(f"wrote docs/contract.md: {len(text.splitlines())} lines")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
