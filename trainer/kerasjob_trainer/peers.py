"""Asking the agents of other workers of a ring. Called by `restore`, in a thread."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kerasjob_api.wire import Member
from kerasjob_trainer.manifests import Saved

TIMEOUT_SECONDS = 5.0
ANSWER_MAX_BYTES = 4 * 1024**2


class PeerError(Exception):
    """A peer does not answer, or says no."""


class Peer:
    """The agent of one member."""

    def __init__(self, member: Member, token: str) -> None:
        self._member, self._token = member, token

    def restore_point(self, revision: int) -> tuple[str | None, int | None]:
        """Of the leader: the checkpoint that a ring goes on from, and the rank of the worker that holds it."""
        answer = self._json(f"/v1/restore?revision={revision}")
        return answer["checkpoint"], answer["from"]

    def held(self, revision: int) -> list[Saved]:
        """What the member held when the ring before this revision ended."""
        return [Saved.from_json(one) for one in self._json(f"/v1/held?revision={revision}")["held"]]

    def fetch(self, id_: str, name: str, target: Path) -> None:
        """Brings a file that the member holds."""
        with self._get(f"/v1/held/{id_}/{name}") as response, target.open("wb") as file:
            shutil.copyfileobj(response, file, 1024**2)

    def _json(self, path: str) -> Any:
        with self._get(path) as response:
            return json.loads(response.read(ANSWER_MAX_BYTES))

    @contextmanager
    def _get(self, path: str) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._member.host, self._member.agent_port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self._token}"})
            response = connection.getresponse()
            if response.status != 200:
                raise PeerError(f"worker {self._member.slot}: {response.read(200).decode(errors='replace')}")
            yield response
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise PeerError(f"worker {self._member.slot}: {error}") from error
        finally:
            connection.close()
