"""The dashboards are drawn from answers, each panel at its place."""

import math

import pytest
from matplotlib.image import imread

from kerasjob.files import load
from kerasjob_pictures import board, page, tensorboard, units
from kerasjob_pictures.__main__ import DASHBOARDS
from kerasjob_pictures.answers import Answers, NoPicture

START, END = 1_700_000_000.0, 1_700_000_600.0
LABELS = {"namespace": "default", "name": "mnist", "phase": "Running", "kerasjob_dev_slot": "0", "state": "training"}


def answers() -> Answers:
    return Answers(START, END, {"namespace": "default", "job": "mnist"})


def made_up(names: list[str]) -> Answers:
    """An answer to each query of these dashboards: a line with a gap, and a number."""
    made = answers()
    for name in names:
        dashboard = board.read(DASHBOARDS / f"{name}.json")
        for panel in dashboard.panels:
            for target in panel.targets:
                said = board.replaced(target.expression, {**made.variables, **dashboard.variables})
                line = [[START + 3 * i, str(i % 7)] for i in range(200) if not 50 < i < 60]
                made.known[f"range {said}"] = [{"metric": LABELS, "values": [[START, "NaN"], *line[1:]]}]
                made.known[f"instant {said}"] = [{"metric": LABELS, "value": [END, "0.25"]}]
    return made


@pytest.mark.parametrize("name", ["fleet", "job", "operator"])
def test_a_dashboard_is_drawn_with_all_its_panels(name, tmp_path):
    made_up([name]).record(tmp_path / "answers.json")
    dashboard = board.read(DASHBOARDS / f"{name}.json")
    drawn = page.draw(dashboard, Answers.replay(tmp_path / "answers.json"))
    written = drawn.texts()
    assert {dashboard.title, *(panel.title for panel in dashboard.panels)} <= set(written)
    assert "No data" not in written
    page.save(drawn, tmp_path / "picture.png")
    assert imread(tmp_path / "picture.png").shape[:2] == (drawn.height, drawn.width)
    assert (tmp_path / "picture.png").stat().st_size < 300_000


def test_every_query_of_the_charts_dashboards_has_its_variables_replaced():
    for file in DASHBOARDS.iterdir():
        dashboard = board.read(file)
        for panel in dashboard.panels:
            for target in panel.targets:
                assert "$" not in board.replaced(target.expression, {**answers().variables, **dashboard.variables})


def test_a_panel_without_an_answer_says_so_and_what_was_not_recorded_is_told():
    dashboard = board.read(DASHBOARDS / "job.json")
    given = made_up(["job"])
    given.known = {key: [] for key in given.known}
    assert page.draw(dashboard, given).texts().count("No data") == sum(p.kind != "row" for p in dashboard.panels)
    with pytest.raises(NoPicture, match="lack this one: range up"):
        given.to("up", instant=False)


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.726, "percentunit", "72.6%"),
        (0, "percentunit", "0%"),
        (7573, "short", "7.57 K"),
        (0.00573086, "short", "0.00573"),
        (200, "short", "200"),
        (0.0421, "s", "42.1 ms"),
        (0, "s", "0 s"),
        (218.5, "s", "3.64 mins"),
        (419430400, "bytes", "400 MiB"),
        (1.5, "reqps", "1.5 req/s"),
    ],
)
def test_numbers_are_said_in_their_unit(value, unit, said):
    assert units.text(value, unit) == said


@pytest.mark.parametrize("unit", ["short", "s", "bytes", "percentunit", "reqps", "none"])
@pytest.mark.parametrize("top", [0.0, 1e-7, 0.3, 1, 17, 4096, 3e9])
def test_an_axis_has_a_few_marks_that_differ_and_reaches_the_top(unit, top):
    marks = units.ticks(top, unit)
    assert 2 <= len(marks) <= 7
    assert marks[0][0] == 0
    assert marks[-1][0] >= top * (1 - 1e-9)
    assert len({label for _, label in marks}) == len(marks)
    assert all(math.isfinite(value) for value, _ in marks)


def test_the_job_that_tensorboard_shows_is_valid(tmp_path):
    (tmp_path / "job.yaml").write_text(tensorboard.JOB)
    assert load(tmp_path / "job.yaml").name == tensorboard.NAME


def test_without_a_browser_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoPicture, match="apt-get install chromium"):
        tensorboard.picture(tmp_path / "picture.png")
