"""Sessions over logits of another runtime, and the files that they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.sampling import SamplingConfig, sample, seeded
from refruntime.session.logits_session import ImportedSession, checked_rows, read_logits
from refruntime.session.state import SessionError
from refruntime.tokenizers.btok import BtokTokenizer

ROWS = np.random.default_rng(3).normal(0, 2, (5, 12)).astype(np.float32)


def session(**values: Any) -> ImportedSession:
    return ImportedSession(ROWS).set(**{"temperature": 0.9, "top_k": 6, "top_p": 0.9, "seed": 17, **values})


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
def test_npy_files(tmp_path: Path, dtype: str) -> None:
    """Every float type and byte order of a .npy file gives the same float32 rows, in row order."""
    values = np.array([[0.5, -1.0, 2.0], [3.0, -np.inf, 0.25]])
    np.save(tmp_path / "rows.npy", np.asfortranarray(values.astype(dtype)))
    rows = read_logits(tmp_path / "rows.npy")
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0.5, -1.0, 2.0], [3.0, float("-inf"), 0.25]]


@pytest.mark.parametrize("text", ["[0.5, -1, 2e400]", '{"logits": [[0.5, -1, 1e999]]}', "[[0.5, -1.0, Infinity]]"])
def test_json_files(tmp_path: Path, text: str) -> None:
    """A JSON list, a list of lists or an object with `logits` gives rows; what float32 cannot hold is infinite."""
    (tmp_path / "rows.json").write_text(text)
    assert read_logits(tmp_path / "rows.json").tolist() == [[0.5, -1.0, float("inf")]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "neither .npy nor JSON"),
        ("[1, 2", "neither .npy nor JSON"),
        ("\xff\xfe", "neither .npy nor JSON"),
        ("[" * 100_000, "neither .npy nor JSON"),
        ("[]", "no logits"),
        ("[[]]", "no logits"),
        ("[[1, 2], [3]]", "rows differ in length"),
        ("[[1, 2], 3]", "rows differ in length"),
        ("[1, true]", "logit 1 of a row: expected a number, found true"),
        ('[1, "2"]', "expected a number"),
        ("[1, null]", "expected a number"),
        ("[1, [2]]", "expected a number"),
        ("3", "expected a list"),
        ('{"values": [1]}', "no `logits`; found 'values'"),
    ],
    ids=lambda value: value[:12],
)
def test_bad_json(tmp_path: Path, text: str, said: str) -> None:
    """What is no matrix of numbers is refused in words."""
    (tmp_path / "rows.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(SessionError, match=said.replace("(", r"\(")):
        read_logits(tmp_path / "rows.json")


@pytest.mark.parametrize("cut", [8, 20, 127, 129, 150])
def test_npy_files_cut_short(tmp_path: Path, cut: int) -> None:
    """A .npy file that ends early is refused, wherever it ends."""
    np.save(tmp_path / "rows.npy", ROWS)
    whole = (tmp_path / "rows.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:cut])
    with pytest.raises(SessionError, match=r"no \.npy file of plain numbers"):
        read_logits(tmp_path / "cut.npy")


def test_npy_files_of_other_things(tmp_path: Path) -> None:
    """Objects, integers, scalars and cubes are refused by name; nothing is unpickled, no claimed size is believed."""
    for values, said in [
        (np.array([{}], dtype=object), "plain numbers"),
        (np.arange(4), "found int64"),
        (np.float32(1.0), "found \\[\\]"),
        (np.zeros((2, 2, 2), np.float32), "found \\[2, 2, 2\\]"),
        (np.zeros((0, 4), np.float32), "plain numbers|no logits"),
    ]:
        np.save(tmp_path / "other.npy", values, allow_pickle=True)
        with pytest.raises(SessionError, match=said):
            read_logits(tmp_path / "other.npy")
    np.save(tmp_path / "huge.npy", np.zeros(16, np.float32))
    header = (tmp_path / "huge.npy").read_bytes()
    (tmp_path / "huge.npy").write_bytes(header.replace(b"(16,), }          ", b"(1600000000000,), }"))
    with pytest.raises(SessionError):
        read_logits(tmp_path / "huge.npy")


def test_too_many_values_are_refused_before_they_are_copied() -> None:
    """A matrix of 2^29 values that takes no memory is refused by its size."""
    wide = np.broadcast_to(np.float32(0), (2**9, 2**20))
    with pytest.raises(SessionError, match="536870912 values"):
        checked_rows(wide)


# Sessions ------------------------------------------------------------------------------------------------------------


def test_steps_walk_the_rows() -> None:
    """SA-1 .. SA-6, GEN-7: tokens and generator states are those of the sampler called row by row."""
    done = session().step(5)
    config, state = SamplingConfig.validated(0.9, 6, 0.9, 17), seeded(17, Profile())
    for row, taken in zip(ROWS, done.state.taken, strict=True):
        choice = sample(row, config, state, Profile())
        assert (taken.token, taken.choice.generator_state) == (choice.token, choice.generator_state)
        state = choice.generator_state
    assert done.finished == "all 5 rows of logits were used"
    with pytest.raises(SessionError, match="all 5 rows"):
        done.step()


def test_words_of_sessions() -> None:
    """back, force, why, what_if and reset do what they do with a model; the row of a step never depends on them."""
    start = session()
    forced = start.step(2).force(3)
    assert forced.last.forced
    assert forced.last.token == 3
    assert np.array_equal(forced.last.logits, ROWS[2])
    assert forced.back().step().last.token == start.step(3).last.token
    assert "generator" in str(start.step().why())
    assert "PR-3" in str(start.step().what_if())
    again = forced.reset().step(2)
    assert [each.token for each in again.state.taken] == [each.token for each in start.step(2).state.taken]
    assert forced.state.script == ()
    assert forced.state.unspeakable


def test_set_in_the_middle_goes_on_as_the_exports_would() -> None:
    """SC-3, NT-4: behind a first token, `set` reseeds the runtime-owned generator, which draws from then on."""
    changed = session().step(2).set(seed=99).step()
    expected = sample(ROWS[2], SamplingConfig.validated(0.9, 6, 0.9, 99), seeded(99, Profile()), Profile())
    assert changed.last.owner == "runtime"
    assert changed.last.token == expected.token


def test_what_needs_a_model_is_refused() -> None:
    """Without a model there is nothing to prompt, trace or look at."""
    for act in (lambda: session().prompt("a"), lambda: session().tensors(), lambda: session().attention(0, 0)):
        with pytest.raises(SessionError, match="no model"):
            act()
    with pytest.raises(SessionError, match="give an id"):
        session().force("a")
    with pytest.raises(SessionError, match="there is no token 12"):
        session().force(12)


def test_texts_through_a_tokenizer() -> None:
    """SL-8: with a tokenizer of the same size tokens have texts; with another size it is refused."""
    rows = np.zeros((1, 260), np.float32)
    rows[0, ord("x")] = 5
    tokenizer = BtokTokenizer(260)
    assert ImportedSession(rows, tokenizer).step().text == b"x"
    with pytest.raises(SessionError, match="260 tokens, a row of logits 12 logits"):
        ImportedSession(ROWS, tokenizer)


def test_logits_that_are_given_cannot_be_changed_behind_a_session() -> None:
    """A session is a value: changing the caller's array changes no state."""
    mine = ROWS.copy()
    made = ImportedSession(mine)
    mine[:] = 0
    assert np.array_equal(made.next_logits, ROWS[0])


def test_documents() -> None:
    """to_dict holds plain values only."""
    json.dumps([session().step(2).to_dict(), session().step().why().to_dict(), session().step().what_if().to_dict()])


def test_a_stop_token_ends_no_file() -> None:
    """Rows behind a stop token are there to be asked about; each step is for its own row, and `back` says so."""
    rows = np.zeros((3, 260), np.float32)
    rows[0, 257] = rows[1, ord("A")] = rows[2, 257] = 5
    made = ImportedSession(rows, BtokTokenizer(260)).step(3)
    assert [taken.token for taken in made.state.taken] == [257, ord("A"), 257]
    assert [taken.position for taken in made.state.taken] == [0, 1, 2]
    assert (made.text, made.position, made.back().finished) == (b"A", 3, "")
    assert made.finished == "all 3 rows of logits were used"


def test_tokens_without_text_are_named_by_id() -> None:
    """SA-1, SA-5: no token shows as an empty quote, and where none can win no greatest one is said to."""
    rows = np.array([[1, 3, 2], [np.nan] * 3, [-np.inf] * 3], np.float32)
    first = ImportedSession(rows).set(temperature=1, top_k=3, top_p=0.5, seed=2).step()
    shown = str(first.why()) + str(first.what_if(top_k=1))
    assert "reached by #1 token 1 " in shown
    assert shown.count("(no text)") >= 5
    assert '""' not in shown
    for session in (first.step(), first.step(2)):
        shown = str(session.why())
        assert "none is greater than -infinity" in shown
        assert "so id 0 is taken (SA-1)" in shown
        assert "greatest logit wins" not in shown
