"""`refruntime contract`: for people, for machines, and when it is used wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from refruntime.commands.contract import contract_command
from refruntime.contract import EXPORTS, Profile, Status
from refruntime.contract.rules import load_rules


def run(*arguments: str, columns: int = 200) -> Result:
    return CliRunner().invoke(contract_command, list(arguments), env={"COLUMNS": str(columns)})


def words(text: str) -> str:
    """Return the letters and digits alone, so that folding and table borders do not matter."""
    return "".join(character for character in text if character.isalnum())


@pytest.fixture
def profile_file(tmp_path: Path) -> Path:
    path = tmp_path / "build.toml"
    path.write_text('[rules]\n"GEN-9" = "lossy"\n"SL-5.start" = "0xff"\n', encoding="utf-8")
    return path


def test_whole_contract_for_people() -> None:
    """Every rule, status and export is shown, with a count of what was shown."""
    result = run()
    assert result.exit_code == 0
    shown = words(result.output)
    assert all(rule.id in result.output for rule in load_rules().values())
    assert all(status.name in result.output for status in Status)
    assert all(words(export.signature) in shown for export in EXPORTS)
    assert f"{len(load_rules())} rules" in result.output
    assert Profile().fingerprint in result.output


def test_narrow_terminal_loses_nothing() -> None:
    """Text folds in a narrow terminal instead of being cut off."""
    narrow = run(columns=60).output
    assert "…" not in narrow
    for rule in load_rules().values():
        first_words = words(" ".join(rule.text.split()[:3]))
        last_word = words(rule.text.split()[-1])
        assert first_words[:12] in words(narrow), rule.id
        assert last_word in words(narrow), rule.id


def test_one_rule_shows_text_options_and_clarification() -> None:
    """`--rule` takes any letter case and shows what is needed to understand the rule."""
    result = run("--rule", "gen-9")
    assert result.exit_code == 0
    assert "GEN-9  declared  (section 6" in result.output
    assert "GEN-9: [3] | 13 | lossy" in result.output
    assert "clarified by CL-statuses" in result.output
    assert "GEN-10  " not in result.output


def test_profile_shows_the_option_in_force(profile_file: Path) -> None:
    """`--profile` marks the chosen option and what differs from the default, and names the fingerprint."""
    result = run("--rule", "GEN-9", "--profile", str(profile_file))
    assert "GEN-9: 3 | 13 | [lossy]  (not the default)" in result.output
    profile = Profile.from_toml(profile_file.read_text(encoding="utf-8"))
    assert profile.fingerprint in result.output
    assert profile.fingerprint != Profile().fingerprint
    whole = run("--profile", str(profile_file)).output
    assert "2 not the default" in whole
    assert 'SL-5.start = "0xff"' in whole


def test_json_is_complete(profile_file: Path) -> None:
    """`--json` holds every rule with options and value in force, statuses, exports, layouts and the fingerprint."""
    document = json.loads(run("--json", "--profile", str(profile_file)).output)
    assert [rule["id"] for rule in document["rules"]] == list(load_rules())
    by_id = {rule["id"]: rule for rule in document["rules"]}
    assert by_id["GEN-9"]["in_force"] == {"GEN-9": "lossy"}
    assert by_id["SL-5"]["in_force"]["SL-5.start"] == "0xff"
    assert by_id["PR-4"]["options"]["PR-4.load"] == ["untouched", "reseeded"]
    assert by_id["MEM-6"]["clarified_by"] == ["CL-statuses"]
    assert document["differences"] == ["GEN-9", "SL-5.start"]
    assert document["profile"]["GG-1"] == ["slm1", "gguf"]
    assert document["fingerprint"] == Profile.from_toml(profile_file.read_text(encoding="utf-8")).fingerprint
    assert [(row["code"], row["name"]) for row in document["statuses"]] == [(int(s), s.name) for s in Status]
    assert [row["name"] for row in document["exports"]] == [export.name for export in EXPORTS]
    assert {row["name"]: row["size"] for row in document["layouts"]}["SLM1 header"] == 108
    assert any(section["pages"] for section in document["sections"])


def test_json_of_one_rule() -> None:
    """`--rule --json` is that rule alone, with contract version and fingerprint."""
    document = json.loads(run("--rule", "CL-gguf", "--json").output)
    assert document["id"] == "CL-gguf"
    assert document["contract"] == "0.1.0"
    assert document["text"] == load_rules()["CL-gguf"].text
    assert "GG-3" in document["clarifies"]


def test_unknown_rule_is_a_usage_error() -> None:
    """An unknown rule exits with 2 and names near matches."""
    result = run("--rule", "SL-55")
    assert result.exit_code == 2
    assert "SL-5" in result.output.partition("did you mean")[2]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[rules]\n"GEN-9" = "4"\n', "GEN-9: '4' is no option; expected one of 3, 13, lossy"),
        (b'[rules]\n"GEN-99" = "3"\n', "unknown rule key 'GEN-99'"),
        (b"[rules\n", "not TOML"),
        (b"\xff", "not UTF-8 at byte 0"),
    ],
)
def test_invalid_profile_is_a_usage_error(tmp_path: Path, content: bytes, expected: str) -> None:
    """An invalid profile exits with 2 and says what is wrong in which file."""
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    result = run("--profile", str(path))
    assert result.exit_code == 2
    assert expected in result.output
    assert "bad.toml" in result.output


def test_missing_profile_exits_with_3(tmp_path: Path) -> None:
    """A file that does not exist exits with 3 and is named."""
    result = run("--profile", str(tmp_path / "absent.toml"))
    assert result.exit_code == 3
    assert "absent.toml" in result.output


def test_help_has_an_example() -> None:
    """`--help` shows how the command is called."""
    result = run("--help")
    assert result.exit_code == 0
    assert "refruntime contract --rule GEN-9" in result.output
