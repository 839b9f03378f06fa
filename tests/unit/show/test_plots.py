"""Pictures: valid, not blank, the same bytes again; and the command that writes them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from refruntime import Session
from refruntime.cli import main
from refruntime.commands import plot as plot_module
from refruntime.session.logits_session import ImportedSession
from refruntime.session.series import candidates_of, error_by_layer, steps_of

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")

from matplotlib import image, rc_context

from refruntime.show import plots

MODEL = Path(__file__).resolve().parents[3] / "golden" / "models" / "stories.q8_0.slm1"
KINDS = ("probabilities", "entropy", "attention", "error")
FIRST_KIND_FAST = [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def session() -> Session:
    sampled = Session(MODEL).set(temperature=1.1, top_k=30, top_p=0.9, seed=7).prompt("Once")
    return sampled.step(5).force("$").step(2)


def draw(session: Session, kind: str) -> Any:
    about = plots.about_session(session)
    figures: dict[str, Callable[[], Any]] = {
        "probabilities": lambda: plots.probabilities_plot(candidates_of(session), about),
        "entropy": lambda: plots.entropy_plot(steps_of(session), about),
        "attention": lambda: plots.attention_plot(session.attention(0, 1), about),
        "error": lambda: plots.error_plot(error_by_layer(session), about),
    }
    return figures[kind]()


def assert_svg(data: bytes) -> None:
    """Check that a document is drawn on, and asks for nothing from outside."""
    tree = ElementTree.fromstring(data)
    assert tree.tag == f"{SVG}svg"
    drawn = [each for each in tree.iter() if each.tag in (f"{SVG}path", f"{SVG}use", f"{SVG}image")]
    assert len(drawn) > 30
    assert not list(tree.iter(f"{SVG}script"))
    links = [value for each in tree.iter() for key, value in each.attrib.items() if key.endswith("href")]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert b"<dc:date>" not in data


def colours(data: bytes) -> int:
    pixels = image.imread(io.BytesIO(data), format="png")
    return len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0))


@pytest.mark.parametrize("kind", KINDS)
def test_pictures(session: Session, kind: str) -> None:
    """Each kind gives a valid SVG; again, and under other defaults, the same bytes."""
    svg = plots.figure_bytes(draw(session, kind), ".svg")
    assert_svg(svg)
    with rc_context({"font.size": 30.0, "svg.hashsalt": "other", "axes.grid": True, "lines.linewidth": 9.0}):
        assert plots.figure_bytes(draw(session, kind), ".svg") == svg


@pytest.mark.parametrize("kind", FIRST_KIND_FAST)
def test_pictures_of_pixels(session: Session, kind: str) -> None:
    """Each kind gives a PNG that is not blank."""
    assert colours(plots.figure_bytes(draw(session, kind), ".png")) > 20


def test_bars_have_the_heights_of_the_probabilities(session: Session) -> None:
    """The rectangles of a picture are the numbers of its series, stacked."""
    every = [bar for bar in draw(session, "probabilities").axes[0].patches if bar.get_height() > 0]
    bars = [bar for bar in every if bar.get_hatch() is None]
    steps = list(enumerate(candidates_of(session)))
    assert [round(bar.get_x() + 0.43) for bar in bars] == [place for place, step in steps for _ in step.probability]
    expected = [float(share) for _, step in steps for share in step.probability]
    assert [float(bar.get_height()) for bar in bars] == pytest.approx(expected, abs=1e-12)


def test_what_is_not_shown_is_drawn(session: Session) -> None:
    """Every stack reaches 1: the mass of candidates that are not shown is hatched, and told where there is room."""
    steps = candidates_of(session, 2)
    figure = plots.probabilities_plot(steps)
    axes = figure.axes[0]
    rest = {round(bar.get_x() + 0.43): bar for bar in axes.patches if bar.get_hatch()}
    missing = {n: 1 - step.probability.sum() for n, step in enumerate(steps) if step.probability.sum() < 1 - 1e-6}
    assert rest.keys() == missing.keys() != set()
    assert [float(rest[n].get_height()) for n in missing] == pytest.approx(list(missing.values()))
    told = {text.get_text() for text in axes.texts if text.get_text().endswith("%")}
    assert told == {f"{mass:.0%}" for mass in missing.values() if mass > 0.045}
    assert "not shown" in [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("kind", FIRST_KIND_FAST)
def test_titles_and_legends_cover_nothing(session: Session, kind: str) -> None:
    """Model, prompt and settings stand above; title, legend and axes do not touch, within 1,600 pixels."""
    numbers = {
        "probabilities": candidates_of(session, 3) * 8,
        "entropy": steps_of(session.step(8)),
        "attention": session.attention(0, 1),
        "error": error_by_layer(session),
    }[kind]
    figure = getattr(plots, f"{kind}_plot")(numbers, plots.about_session(session))
    pixels = image.imread(io.BytesIO(plots.figure_bytes(figure, ".png")), format="png")
    assert pixels.shape[1] <= 1600
    title = figure.get_suptitle().replace("\u00a0", " ").replace("\n", " ")
    settings = "temperature 1.1, top_k 30, top_p 0.9, seed 7"
    assert title.endswith(f'{MODEL.name}; prompt "Once"; {settings}; numerics seq32')
    boxes = [figure._suptitle.get_window_extent()]
    assert boxes[0].x1 <= figure.bbox.x1
    for axes in figure.axes:
        boxes.append(axes.get_window_extent())
        if axes.get_legend() is not None:
            boxes.append(axes.get_legend().get_window_extent())
            assert boxes[-1].x1 <= figure.bbox.x1
    inside = [box.padded(-1) for box in boxes]
    assert not [(a, b) for n, a in enumerate(inside) for b in inside[:n] if a.overlaps(b)]


@pytest.mark.slow
def test_labels_stay_in_their_bars(session: Session) -> None:
    """A label inside of a bar is no wider than the bar, whatever the number of steps."""
    steps = candidates_of(session, 2) * 24  # 168 steps, so narrow bars
    figure = plots.probabilities_plot(steps)
    plots.figure_bytes(figure, ".png")
    assert len(figure.axes) <= 8
    for axes in figure.axes:
        width = axes.transData.transform((0.86, 0))[0] - axes.transData.transform((0, 0))[0]
        texts = [text for text in axes.texts if text.get_bbox_patch() is None]
        assert all(text.get_window_extent().width <= width + 1 for text in texts)


def test_curves_are_the_series(session: Session) -> None:
    """The lines of the entropy picture hold the entropies."""
    steps = steps_of(session)
    above, below = draw(session, "entropy").axes
    assert above.lines[0].get_ydata().tolist() == steps.entropy.tolist()
    assert above.lines[1].get_ydata().tolist() == steps.drawn_entropy.tolist()
    assert [bar.get_height() for bar in below.patches] == steps.margin.tolist()


@pytest.mark.slow
def test_another_process_writes_the_same_file(tmp_path: Path, session: Session) -> None:
    """Hash seeds, processes and dates leave no trace in a file."""
    lines = (
        "import sys; from pathlib import Path; from refruntime import Session\n"
        "from refruntime.show.plots import *; from refruntime.session.series import *\n"
        "session = Session(sys.argv[1]).set(temperature=1.1, top_k=30, top_p=0.9, seed=7).prompt('Once')\n"
        "session = session.step(5).force('$').step(2)\n"
        "write_plot(probabilities_plot(candidates_of(session), about_session(session)), Path(sys.argv[2]))\n"
    )
    path = tmp_path / "other.svg"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "SOURCE_DATE_EPOCH": "1", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", lines, str(MODEL), str(path)], check=True, env=environment)
    assert path.read_bytes() == plots.figure_bytes(draw(session, "probabilities"), ".svg")


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        (b" $x$", "␣$x$"),
        (b"", "(no text)"),
        ("日".encode(), "\\u{65e5}"),
        (b"\n\xff", "\\u{a}\\xff"),
        (b"abcdefghijklmnop", "abcdefghijk…"),
    ],
)
def test_labels(raw: bytes, label: str) -> None:
    """Everything shows: spaces, controls, bytes that are no text, and characters that the font does not have."""
    assert plots.label_of(raw) == label


def test_texts_that_look_like_formulas_or_markup() -> None:
    """Dollars, ampersands, angles, right-to-left text and missing glyphs are drawn without a warning."""

    class Texts:
        kind, vocab_size, eos_id, stop_ids = "none", 4, None, frozenset[int]()

        def encode(self, text: bytes, *, add_special: bool = True) -> list[int]:
            raise NotImplementedError

        def decode(self, ids: Any) -> bytes:
            return b"".join([b"$\\frac", b"<&>", "\u05d0\u0301".encode(), "\U0001f600".encode()][each] for each in ids)

    rows = np.eye(4, dtype=np.float32)
    imported = ImportedSession(rows, Texts()).set(temperature=1.0, top_k=4, top_p=0.9).step(4)
    for figure in (plots.probabilities_plot(candidates_of(imported)), plots.entropy_plot(steps_of(imported))):
        assert_svg(plots.figure_bytes(figure, ".svg"))


# The command ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FIRST_KIND_FAST)
def test_the_command(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plot` writes the picture that the functions give and, with --json, the numbers of the series."""
    path = tmp_path / "out.SVG"
    options = ["--temperature", "1.1", "--top-k", "30", "--top-p", "0.9", "--seed", "7", "-n", "4", "--json"]
    assert main(["plot", str(MODEL), "Once", "--kind", kind, "--head", "1", *options, "-o", str(path)]) == 0
    document = json.loads(capsys.readouterr().out)
    session = Session(MODEL).set(temperature=1.1, top_k=30, top_p=0.9, seed=7).prompt("Once").step(4)
    assert path.read_bytes() == plots.figure_bytes(draw(session, kind), ".svg")
    series: dict[str, Callable[[], Any]] = {
        "probabilities": lambda: {"steps": [step.to_dict() for step in candidates_of(session)]},
        "entropy": lambda: steps_of(session).to_dict(),
        "attention": lambda: session.attention(0, 1).to_dict(),
        "error": lambda: error_by_layer(session).to_dict(),
    }
    expected = json.loads(json.dumps(series[kind]()))
    assert {key: document[key] for key in expected} == expected
    assert document["ids"] == list(session.ids)


def test_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the extra the command says what to install, exit code 3; the numbers need nothing."""
    monkeypatch.setattr(plot_module, "find_spec", lambda name: None)
    assert main(["plot", str(MODEL), "Once", "-o", str(tmp_path / "a.svg")]) == 3
    assert "pip install 'refruntime[plot]'" in capsys.readouterr().err
    assert main(["plot", str(MODEL), "Once", "-n", "1", "--json"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["Once"], 2),
        (["Once", "-o", "a.pdf"], 2),
        (["Once", "-o", "a.svg", "-n", "0"], 2),
        (["Once", "-o", "a.svg", "--kind", "attention", "--layer", "99"], 2),
        (["Once", "-o", "a.svg", "--kind", "attention", "--head", "99"], 2),
        (["--ids", "1,999999", "-o", "a.svg"], 2),
        (["Once", "-o", "a.svg", "--temperature", "nan"], 1),
        (["", "-o", "a.svg"], 1),
        (["Once", "-o", "no/such/folder/a.svg", "-n", "1"], 3),
    ],
    ids=str,
)
def test_wrong_usage(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each mistake has its exit code and a message, and writes nothing."""
    monkeypatch.chdir(tmp_path)
    assert main(["plot", str(MODEL), *arguments]) == code
    assert capsys.readouterr().err
    assert not list(tmp_path.iterdir())
