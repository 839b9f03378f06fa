"""`refruntime contract`: show the rules, and which option of each a contract profile chooses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from refruntime.commands.files import profile_option
from refruntime.contract import EXPORTS, Profile
from refruntime.contract.rules import Contract, Rule, Section, UnknownRuleError, load_contract


@click.command(
    name="contract",
    epilog="""\b
Examples:
  refruntime contract                          the whole contract
  refruntime contract --rule GEN-9             one rule, with its options
  refruntime contract --profile build.toml     which option a profile chooses
  refruntime contract --json | jq '.rules[] | select(.options != {}) | .id'
""",
)
@click.option("--rule", "identifier", metavar="ID", help="Show this rule only, such as SL-5 or CL-gguf.")
@profile_option
@click.option("--json", "as_json", is_flag=True, help="Write JSON for machines.")
def contract_command(identifier: str | None, profile: Profile, as_json: bool) -> None:
    """Show the contract: exports, status codes and every rule with its source and options.

    A rule is published (P), derived (V) or declared (D); see docs/contract.md. Exit codes: 0 fine, 2 unknown rule or
    invalid profile, 3 missing file.
    """
    contract = load_contract()
    rule = None
    if identifier is not None:
        try:
            rule = contract.rule(identifier)
        except UnknownRuleError as error:
            raise click.BadParameter(str(error), param_hint="--rule") from error
    if as_json:
        body = rule_document(contract, rule, profile) if rule else contract_document(contract, profile)
        document = {"contract": contract.version, "fingerprint": profile.fingerprint, **body}
        click.echo(json.dumps(document, indent=2))
        return
    console = Console()
    if rule:
        print_rule(console, contract, rule, profile)
    else:
        print_contract(console, contract, profile)


def contract_document(contract: Contract, profile: Profile) -> dict[str, Any]:
    """Return the whole contract as JSON-ready values."""
    return {
        "profile": {key: json_value(key, value) for key, value in profile.choices().items()},
        "differences": sorted(profile.differences()),
        "exports": [
            {
                "name": export.name,
                "signature": export.signature,
                "parameters": list(export.wasm_parameters),
                "results": list(export.wasm_results),
            }
            for export in EXPORTS
        ],
        "statuses": [
            {"code": int(status), "name": status.name, "message": status.message, "when": when}
            for section in contract.sections
            for status, when in section.statuses.items()
        ],
        "layouts": [asdict(layout) for section in contract.sections for layout in section.layouts],
        "sections": [section_document(section) for section in contract.sections],
        "rules": [rule_document(contract, rule, profile) for rule in contract.rules.values()],
    }


def section_document(section: Section) -> dict[str, Any]:
    """Return number, title, prose and source pages of a section as JSON-ready values."""
    return {
        "number": section.number,
        "title": section.title,
        "text": section.text,
        "closing": section.closing,
        "pages": [asdict(row) for row in section.pages],
    }


def rule_document(contract: Contract, rule: Rule, profile: Profile) -> dict[str, Any]:
    """Return one rule as JSON-ready values, with the value in force for each of its profile keys."""
    in_force = {key: getattr(profile, name) for key, name in profile.attributes().items()}
    return {
        "id": rule.id,
        "section": rule.section,
        "source": list(rule.source),
        "text": rule.text,
        "options": {key: list(options) for key, options in rule.options.items()},
        "in_force": {key: json_value(key, in_force[key]) for key in (*rule.options, *rule.values)},
        "clarifies": list(rule.clarifies),
        "clarified_by": [other.id for other in contract.clarifications(rule.id)],
    }


def json_value(key: str, value: Any) -> Any:
    """Return a profile value as JSON can hold it: u64 as hex text, pairs as an object."""
    if key == "SL-5.start":
        return f"{value:#x}"
    if key == "DG-3":
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def print_rule(console: Console, contract: Contract, rule: Rule, profile: Profile) -> None:
    """Print one rule for people."""
    section = next(section for section in contract.sections if section.number == rule.section)
    heading = Text.assemble((rule.id, "bold"), f"  {', '.join(rule.source)}", f"  (section {section.number}, ")
    console.print(heading.append(f"{section.title})"))
    console.print(Padding(Text(plain(rule.text)), (0, 0, 0, 2)))
    lines = switch_lines(rule, profile)
    for line in lines:
        console.print(Padding(line, (0, 0, 0, 2)))
    if lines:
        legend = f"[in force] in the profile with fingerprint {profile.fingerprint}"
        console.print(Padding(Text(legend, style="dim"), (0, 0, 0, 2)))
    if rule.clarifies:
        console.print(Padding(Text(f"clarifies {', '.join(rule.clarifies)}"), (0, 0, 0, 2)))
    for other in contract.clarifications(rule.id):
        console.print(Padding(Text.assemble("clarified by ", (other.id, "bold")), (0, 0, 0, 2)))
        console.print(Padding(Text(plain(other.text)), (0, 0, 0, 4)))


def switch_lines(rule: Rule, profile: Profile) -> list[Text]:
    """Return one line for each profile key of a rule; the value in force is in brackets."""
    in_force = {key: getattr(profile, name) for key, name in profile.attributes().items()}
    changed = profile.differences()
    lines = []
    for key in (*rule.options, *rule.values):
        line = Text.assemble((key, "bold"), ": ")
        if key in rule.options:
            for index, option in enumerate(rule.options[key]):
                line.append(" | " if index else "")
                line.append(f"[{option}]" if option == in_force[key] else option)
        else:
            line.append(f"[{json.dumps(json_value(key, in_force[key]))}]")
        line.append("  (not the default)" if key in changed else "", style="bold yellow")
        lines.append(line)
    return lines


def plain(text: str) -> str:
    """Return the text of a rule without the marks of emphasis around its options."""
    return re.sub(r"\*(options\b[^*]*)\*", r"\1", text)


def print_contract(console: Console, contract: Contract, profile: Profile) -> None:
    """Print the whole contract for people, section by section, then what the profile changes."""
    from rich.markdown import Markdown  # what shows one rule does without

    for section in contract.sections:
        console.print()
        console.print(Text(f"{section.number}. {section.title}", style="bold"))
        if section.text:
            console.print(Markdown(section.text))
        if section.statuses:
            statuses = ((str(int(status)), status.name, when) for status, when in section.statuses.items())
            console.print(plain_table(("code", "name", "when"), statuses))
        for layout in section.layouts:
            console.print(Text(f"{layout.name}, {layout.size} bytes", style="italic"))
            layout_fields = ((str(item.offset), item.type, item.name, item.note) for item in layout.fields)
            console.print(plain_table(("offset", "type", "field", "value"), layout_fields))
        if section.rules:
            console.print(rules_table(section, profile))
        if section.number == 1:
            exports = ((export.signature, export.wasm_signature) for export in EXPORTS)
            console.print(plain_table(("export", "wasm type"), exports))
        if section.pages:
            pages = ((row.sections, ", ".join(row.pages)) for row in section.pages)
            console.print(plain_table(("sections", "pages"), pages))
        if section.closing:
            console.print(Markdown(section.closing))
    console.print()
    changed = profile.differences()
    summary = (
        f"contract {contract.version}: {len(contract.rules)} rules, {len(profile.choices())} profile keys "
        f"([in force] in brackets), {len(changed)} not the default; fingerprint {profile.fingerprint}"
    )
    console.print(Text(summary))
    for key, value in changed.items():
        console.print(Text(f"  {key} = {json.dumps(json_value(key, value))}"))


def rules_table(section: Section, profile: Profile) -> Table:
    """Return the rules of a section as a table; the value in force of each profile key stands under the text."""
    table = plain_table(("id", "source", "rule"), [])
    for rule in section.rules:
        body = Text(plain(rule.text))
        for line in switch_lines(rule, profile):
            body.append("\n").append_text(line)
        table.add_row(Text(rule.id, style="bold"), rule.letters, body)
    return table


def plain_table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    """Return a table whose cells are taken literally and fold in a narrow terminal, so that nothing is cut off."""
    table = Table(highlight=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in ("id", "source", "code", "name"))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
