"""Asking the agents of other workers of a ring. Called by `restore`, `others` and the uploads, in threads."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kerasjob_api.codec import from_wire, to_wire
from kerasjob_api.wire import Member
from kerasjob_trainer.manifests import Saved
from kerasjob_trainer.sharing import Sent, Share

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
        with self._ask("GET", f"/v1/restore?revision={revision}") as response:
            answer = json.loads(response.read(ANSWER_MAX_BYTES))
            return answer["checkpoint"], answer["from"]

    def held(self, revision: int) -> list[Saved]:
        """What the member held when the ring before this revision ended."""
        with self._ask("GET", f"/v1/held?revision={revision}") as response:
            return [Saved.from_json(one) for one in json.loads(response.read(ANSWER_MAX_BYTES))["held"]]

    def moved(self, revision: int) -> float:
        """How many seconds ago the member's trainer has moved, or its agent in preparing that."""
        with self._ask("GET", f"/v1/moved?revision={revision}") as response:
            return float(json.loads(response.read(ANSWER_MAX_BYTES))["secondsAgo"])

    def fetch(self, id_: str, name: str, target: Path) -> None:
        """Brings a file that the member holds."""
        with self._ask("GET", f"/v1/held/{id_}/{name}") as response, target.open("wb") as file:
            shutil.copyfileobj(response, file, 1024**2)

    def send_share(self, id_: str, name: str, share: Share, timeout_seconds: float) -> Sent:
        """Has the member send a share of a file that it holds to the store."""
        body = json.dumps({"checkpoint": id_, "file": name, "share": to_wire(share)})
        with self._ask("POST", "/v1/share", body, timeout_seconds) as response:
            return from_wire(Sent, json.loads(response.read(ANSWER_MAX_BYTES)))

    @contextmanager
    def _ask(
        self, method: str, path: str, body: str | None = None, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._member.host, self._member.agent_port, timeout=timeout_seconds)
        try:
            connection.request(method, path, body, headers={"Authorization": f"Bearer {self._token}"})
            response = connection.getresponse()
            if response.status != 200:
                raise PeerError(f"worker {self._member.slot}: {response.read(200).decode(errors='replace')}")
            yield response
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise PeerError(f"worker {self._member.slot}: {error}") from error
        finally:
            connection.close()
