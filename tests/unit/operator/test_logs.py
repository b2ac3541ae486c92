"""A line of the operator's JSON log says of which job it is."""

import asyncio
import json
import logging

from kerasjob_operator import logs
from kerasjob_operator.settings import OperatorSettings


async def test_lines_of_passes_side_by_side_are_each_of_their_job(capsys, monkeypatch):
    root = logging.Logger("root")
    monkeypatch.setattr(logging, "basicConfig", lambda handlers, level: [root.addHandler(h) for h in handlers])
    logs.set_up(OperatorSettings(log_format="json"))

    async def one_pass(job):
        with logs.about("team-a", job):
            await asyncio.sleep(0)
            root.warning("late")

    root.warning("before")
    await asyncio.gather(one_pass("one"), one_pass("other"))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["before", "late", "late"]
    assert [(line.get("namespace"), line.get("job")) for line in lines] == [
        (None, None), ("team-a", "one"), ("team-a", "other"),
    ]  # fmt: skip
