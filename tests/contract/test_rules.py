"""The contract as data: complete, consistent with the code that repeats parts of it, and equal to its document."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from refruntime.contract import CONTRACT_VERSION, DIAGNOSTIC_NAMES, EXPORTS, Profile, Status, limits
from refruntime.contract.rules import (
    Contract,
    RulesError,
    UnknownRuleError,
    load_contract,
    load_rules,
    parse_contract,
    rule,
)

PROJECT = Path(__file__).resolve().parent.parent.parent
TWIN = PROJECT.parent / "shared" / "contract.md"
ADDED = {"GG-14", "GG-15"}
"""Rules that the separately kept copy of the contract does not have."""
LETTERS = {"published": "P", "derived": "V", "declared": "D"}

SURFACE = """
alloc(length: usize) -> *mut u8                                                  | i32             | i32
dealloc(pointer: *mut u8, length: usize)                                         | i32 i32         |
init_runtime() -> u32                                                            |                 | i32
load_model(pointer: *const u8, length: usize) -> u32                             | i32 i32         | i32
set_sampling_config(temperature: f32, top_k: u32, top_p: f32, seed: u64) -> u32  | f32 i32 f32 i64 | i32
generate(pointer: *const u8, length: usize, max_new_tokens: u32) -> u32          | i32 i32 i32     | i32
generate_next_token() -> u32                                                     |                 | i32
last_result_ptr() -> *const u8                                                   |                 | i32
last_result_len() -> usize                                                       |                 | i32
get_diagnostics_ptr() -> *const u8                                               |                 | i32
get_diagnostics_len() -> usize                                                   |                 | i32
reset_context() -> u32                                                           |                 | i32
free_model() -> u32                                                              |                 | i32
"""


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract()


@pytest.fixture(scope="module")
def document_maker() -> ModuleType:
    path = PROJECT / "tools" / "make_contract_docs.py"
    specification = importlib.util.spec_from_file_location("make_contract_docs", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def flat(text: str) -> str:
    return " ".join(text.split())


def backticked(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_surface_is_the_published_one() -> None:
    """ABI-1, ABI-2, ABI-5: 13 exports with these types in this order; none of them tells a version."""
    rows = [[cell.strip() for cell in line.split("|")] for line in SURFACE.strip().splitlines()]
    found = [[export.signature, " ".join(export.wasm_parameters), " ".join(export.wasm_results)] for export in EXPORTS]
    assert found == rows
    assert not any("version" in export.name for export in EXPORTS)
    assert CONTRACT_VERSION == "0.1.0"


def test_switches_and_rules_have_the_same_options() -> None:
    """Every option list of a rule is a switch of the profile with the same options in the same order, and back."""
    in_rules = {key: options for item in load_rules().values() for key, options in item.options.items()}
    in_profile = {switch.key: switch.options for switch in Profile.switches()}
    assert in_rules == in_profile


def test_switches_belong_to_the_rule_they_name() -> None:
    """A profile key is the id of its rule, with a suffix where the rule has several keys."""
    for item in load_rules().values():
        for key in (*item.options, *item.values):
            assert key.partition(".")[0] == item.id
        if len(item.options) + len(item.values) == 1:
            assert set(item.options) | set(item.values) == {item.id}


def test_values_and_rules_agree() -> None:
    """Every profile key that takes a value is named by its rule, and vice versa."""
    in_rules = {key for item in load_rules().values() for key in item.values}
    in_profile = {item.metadata["key"] for item in fields(Profile) if "options" not in item.metadata}
    assert in_rules == in_profile


def test_rules_on_builds_of_others_are_there(contract: Contract) -> None:
    """ID-1, ID-2, ID-3, ID-4, GG-13: section 15 says how a build is met; the rule on features points to it."""
    (section,) = [section for section in contract.sections if section.number == 15]
    assert [item.id for item in section.rules] == ["ID-1", "ID-2", "ID-3", "ID-4"]
    assert all(item.source == ("declared",) and not item.options for item in section.rules)
    assert "ID-1" in contract.rule("GG-13").text


def test_text_with_options_has_a_switch() -> None:
    """The text of a rule marks options exactly when the rule has a switch, and only declared parts have options."""
    marked = {item.id for item in load_rules().values() if "*options" in item.text}
    with_switch = {item.id for item in load_rules().values() if item.options}
    assert marked == with_switch
    assert all("declared" in load_rules()[identifier].source for identifier in marked)


def test_options_are_named_by_the_text() -> None:
    """The words of each option occur in the text of its rule or in a clarification of it."""
    contract = load_contract()
    exceptions = {"SL-5.verify": {"verified"}}  # the text names only the deviation
    for item in contract.rules.values():
        text = " ".join([item.text, *(other.text for other in contract.clarifications(item.id))])
        words = set(re.findall(r"[\w^<>=]+", text.lower()))
        for key, options in item.options.items():
            for option in options:
                missing = set(re.findall(r"[\w^<>=]+", option.lower())) - words - exceptions.get(key, set())
                assert not missing, f"{key}: {option!r}: {missing}"


def test_every_source_letter_in_a_text_is_a_source_of_the_rule() -> None:
    """Sources are complete: a text that marks a part with (P), (V) or (D) has that source, and the reverse."""
    for item in load_rules().values():
        text = re.sub(r"`[^`]*`|P/V", " ", item.text)
        text = re.sub(r"\bDG-\d+|\[[A-Z],?[A-Z]?\]|divided by V|\bD x 4\b|2 x L x C|below V\b|\(top_k, V\)", " ", text)
        marks = {name for name, letter in LETTERS.items() if re.search(rf"\b{letter}\b(?=[);,: .]|$)", text)}
        if item.id.startswith("CL-"):
            assert item.source == ("declared",)
            continue
        assert marks <= set(item.source), item.id
        assert set(item.source[1:]) <= marks, item.id
        assert len(set(item.source)) == len(item.source)


def test_statuses_are_complete_and_their_messages_are_those_of_the_rule(contract: Contract) -> None:
    """ERR-3: the fixed texts, in the order of the codes; every code has its row in section 2."""
    (table,) = [section.statuses for section in contract.sections if section.statuses]
    assert list(table) == list(Status)
    assert [int(status) for status in Status] == list(range(15))
    assert [status.message for status in Status if status] == backticked(contract.rule("ERR-3").text)


def test_constants_repeat_the_rules(contract: Contract) -> None:
    """Limits and diagnostics keys in the code are those that the texts name."""
    rules = contract.rules
    expected = {
        str(limits.MAX_TRANSFER_BYTES): ["MEM-1", "MEM-2"],
        str(limits.MAX_TOP_K): ["SC-2", "SA-2"],
        str(limits.MAX_RESULT_BYTES): ["GEN-10"],
        str(limits.MAX_BUFFER_BYTES): ["CL-statuses"],
    }
    for number, identifiers in expected.items():
        for identifier in identifiers:
            assert re.search(rf"(?<!\d){number}(?!\d)", rules[identifier].text), f"{identifier}: {number}"
    assert f"{limits.PAGE_BYTES // 1024} KiB" in rules["MEM-5"].text
    assert "five best" in rules["DG-4"].text
    assert limits.TOP_TOKENS == 5
    assert tuple(backticked(rules["DG-3"].text)) == DIAGNOSTIC_NAMES
    assert str(Profile().gguf_context_limit) in rules["GG-7"].text


def test_layouts_are_contiguous_and_repeat_the_text(contract: Contract) -> None:
    """Each binary structure has no hole and no overlap, and its offsets are those that the text of section 10 names."""
    sizes = {"4 bytes": 4, "u32": 4, "f32": 4, "u64": 8, "4 x u32": 16}
    (section,) = [section for section in contract.sections if section.layouts]
    layouts = {layout.name: layout for layout in section.layouts}
    for layout in layouts.values():
        offset = 0
        for field in layout.fields:
            assert field.offset == offset, f"{layout.name}: {field.name}"
            offset += sizes[field.type]
        assert offset == layout.size, layout.name

    header, entry, _ = section.text.split("\n\n")
    for name, text in (("SLM1 header", header), ("SLM1 directory entry", entry)):
        assert f"{layouts[name].size} bytes" in text
        named = re.findall(r"(\w+)`?(?: 4 x u32| u32 = 1| u32| u64| f32)? @(\d+)", flat(text))
        named = [(field if field != "SLM1" else "magic", int(offset)) for field, offset in named]
        assert named == [(field.name, field.offset) for field in layouts[name].fields]
    assert f"{layouts['BTOK section'].size} bytes" in contract.rule("SL-7").text
    assert f"{layouts['BPE1 header'].size}-byte header" in contract.rule("SL-9").text
    assert f"merges of {layouts['BPE1 merge'].size} bytes" in contract.rule("SL-9").text


def test_document_is_up_to_date(contract: Contract, document_maker: ModuleType) -> None:
    """docs/contract.md is what the rules give, and the same rules give the same bytes."""
    text = document_maker.render(contract)
    assert text == document_maker.render(load_contract())
    on_disk = (PROJECT / "docs" / "contract.md").read_bytes()
    assert on_disk == text.encode(), "run `make docs`"


def test_document_has_every_rule_and_switch(contract: Contract, document_maker: ModuleType) -> None:
    """A reader of docs/contract.md alone has all rules, options, statuses, exports and source pages."""
    text = flat((PROJECT / "docs" / "contract.md").read_text(encoding="utf-8").replace("\\*", "*"))
    for item in contract.rules.values():
        assert item.text in text, item.id
        assert f"| {item.id} |" in text or f"`{item.id}`" in text
        for key, options in item.options.items():
            assert f"| `{key}` |" in text
            assert ", ".join(f"`{option}`" for option in options).replace("\\*", "*") in text
    assert all(f"| {int(status)} | {status.name} |" in text for status in Status)
    assert all(flat(f"{export.signature} {export.wasm_signature}") in text for export in EXPORTS)
    assert all(page in text for section in contract.sections for row in section.pages for page in row.pages)


def test_rule_is_found_in_any_case_and_near_matches_are_named() -> None:
    """A rule is found by its id in any letter case; an unknown id names those that look like it."""
    assert rule("gen-9").id == rule(" GEN-9 ").id == "GEN-9"
    assert rule("cl-GGUF").title == "GGUF"
    with pytest.raises(UnknownRuleError, match="did you mean GEN-2 or GEN-1 or GEN-11") as caught:
        rule("GEN-12")
    assert caught.value.near == ("GEN-2", "GEN-1", "GEN-11")
    with pytest.raises(UnknownRuleError, match="an id looks like"):
        rule("+++")


MINIMAL = """
contract = "0.1.0"
title = "t"
introduction = "i"
[[section]]
number = 1
title = "s"
[[section.rule]]
id = "XX-1"
source = ["published"]
text = '''
two
 lines'''
"""


def test_white_space_inside_a_rule_carries_no_meaning() -> None:
    """Lines of a rule's text are joined with one space."""
    assert parse_contract(MINIMAL).rule("XX-1").text == "two lines"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('contract = "0.1.0"', 'contract = "0.2.0"', "expected '0.1.0', found '0.2.0'"),
        ('title = "t"', "title = 1", "title: expected str, found 1"),
        ('title = "t"', 'title = "t"\nmore = 1', "unknown key 'more'"),
        ('["published"]', '["guessed"]', "XX-1: source: expected some of published, derived, declared"),
        ('["published"]', "[]", "XX-1: source"),
        ('["published"]', '["published"]\noption = 1', "XX-1: unknown key 'option'"),
        ('["published"]', '["published"]\nclarifies = ["XX-2"]', "there is no rule 'XX-2'"),
        ("[[section.rule]]", '[section.statuses]\nFine = "x"\n[[section.rule]]', "unknown status 'Fine'"),
        ("number = 1", "number = true", "number: expected int, found True"),
        ("number = 1", "number = 1\nlayout = [1]", "layout 1: expected a table, found 1"),
        ("number = 1", "number = ", "not TOML"),
        ("lines'''", "lines'''\n[[section.rule]]\nid='XX-1'\nsource=['derived']\ntext='x'", "XX-1 is there twice"),
    ],
)
def test_malformed_rules_are_refused(old: str, new: str, message: str) -> None:
    """A rules file with a missing, unknown or wrong key is refused, and the message names it."""
    assert old in MINIMAL
    with pytest.raises(RulesError, match=re.escape(message)):
        parse_contract(MINIMAL.replace(old, new, 1))


@pytest.fixture(scope="module")
def twin() -> str:
    if not TWIN.is_file():
        pytest.skip("the separately kept copy of the contract, ../shared/contract.md, does not exist here")
    return TWIN.read_text(encoding="utf-8")


def test_rules_equal_the_separate_copy(contract: Contract, twin: str) -> None:
    """Ids, sections, main sources and texts equal the copy that is kept outside; what is added is named."""
    expected: dict[str, tuple[int, str, str]] = {}
    section = 0
    for line in twin.splitlines():
        if heading := re.match(r"## (\d+)\. ", line):
            section = int(heading[1])
        elif row := re.match(r"\| ([A-Z]+-\d+) \| (?:([PVD](?:, [PVD])*) \| )?(.*) \|$", line):
            letters = (row[2] or "D").split(", ")
            expected[row[1]] = (section, letters[0], flat(row[3]))
            assert set(letters) <= set(contract.rules[row[1]].letters.split(", ")), row[1]
    clarifications = re.findall(r"^\*\*(.+?)\.\*\* (.*?)(?=\n\n)", twin, flags=re.MULTILINE | re.DOTALL)
    found = {item.id: (item.section, LETTERS[item.source[0]], item.text) for item in contract.rules.values()}
    titled = [(item.title, item.text) for item in contract.rules.values() if item.title]
    assert titled == [(title, flat(text)) for title, text in clarifications]
    rules = {key: value for key, value in found.items() if not key.startswith("CL-")}
    added = ADDED - expected.keys()
    assert {key: value for key, value in rules.items() if key not in added} == expected
    assert set(rules) >= ADDED


def test_document_holds_the_separate_copy(twin: str) -> None:
    """Every paragraph, heading, table cell and listing line of the separate copy is in docs/contract.md, unchanged."""
    document = flat((PROJECT / "docs" / "contract.md").read_text(encoding="utf-8").replace("\\*", "*"))
    pieces: list[str] = []
    for block in re.split(r"\n\s*\n", twin):
        lines = block.strip().splitlines()
        if all(line.startswith("|") for line in lines):
            pieces.extend(cell for line in lines[2:] for cell in line.strip("|").split(" | "))
        elif lines[0] == "```":
            pieces.extend(lines[1:-1])
        elif set(block.strip()) != {"-"}:
            pieces.append(re.sub(r"^\*\*(.+?)\.\*\* ", "", block))
    assert len(pieces) > 300
    missing = [piece for piece in map(flat, pieces) if piece not in document]
    assert not missing
