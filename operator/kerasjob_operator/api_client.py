"""Requests to the API server as plain JSON, with the official client's address, credentials and TLS.

Used by the body, the listings and the watch of pods. Answers are dicts: typed models of a thousand pods cost more than
all else together, and so does the official client's way to a request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from kubernetes.aio import client, config
from kubernetes.aio.client.rest import RESTClientObject

from kerasjob_operator import json_text
from kerasjob_operator.listing import Listing, take_over
from kerasjob_operator.metrics import API_REQUEST_SECONDS, API_REQUESTS

CONNECTIONS = 100
TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
WATCH_SECONDS = 290
JSON_PATCH = "application/json-patch+json"
# Where a server says that it is busy, and not for how long; and the longest that it is believed.
BUSY_SECONDS, BUSY_MAX_SECONDS = 1.0, 30.0


@dataclass
class ApiError(Exception):
    """The API server's `Status` with a code of 400 or more; code 0: it could not be reached, or must not be written to
    by this process."""

    code: int
    reason: str
    message: str
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.code} {self.reason}: {self.message}"


@dataclass(frozen=True)
class Resource:
    """A kind of object, as it stands in URLs."""

    prefix: str  # api/v1, apis/GROUP/VERSION
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL's path of the collection or of one object."""
        parts = [self.prefix]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/" + "/".join(parts)


class KubernetesApi:
    """One connection pool to one API server. `may_write`: asked before each write; one that may not is an ApiError."""

    def __init__(self, configuration: client.Configuration) -> None:
        self._configuration = configuration
        tls = RESTClientObject(configuration).ssl_context
        self._session = aiohttp.ClientSession(
            configuration.host.rstrip("/"),
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=tls),
            read_bufsize=2**21,  # of a watch: one event is one line
            trust_env=True,
        )
        self._busy_until = 0.0
        self.may_write: Callable[[], bool] = lambda: True

    @classmethod
    async def connect(cls, kubeconfig: str | None = None) -> KubernetesApi:
        """From the pod's service account, or from a kubeconfig: the given one, or that of KUBECONFIG."""
        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            await config.load_kube_config(kubeconfig, client_configuration=configuration)
        return cls(configuration)

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        """Reads one object."""
        return await self._request("get", "GET", resource, namespace, name)

    async def create(
        self, resource: Resource, namespace: str, body: dict[str, Any], *, strict: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """Creates an object. strict: unknown fields are an error instead of being dropped. dry_run: only as if."""
        query = {"fieldValidation": "Strict"} if strict else {}
        if dry_run:
            query["dryRun"] = "All"
        return await self._request("create", "POST", resource, namespace, body=body, query=query)

    async def replace(self, resource: Resource, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Replaces an object; its resourceVersion is a precondition."""
        return await self._request("update", "PUT", resource, namespace, name, body=body)

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: list[dict[str, Any]],
        subresource: str | None = None,
    ) -> dict[str, Any]:
        """JSON-patches an object, or a subresource of it."""
        return await self._request("patch", "PATCH", resource, namespace, name, subresource, body=patch)

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str, *, force: bool = False
    ) -> dict[str, Any]:
        """Deletes an object if it still has this uid; answers the object as it goes, or a Status. `force`: nobody is
        waited for."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if force:
            body["gracePeriodSeconds"] = 0
        return await self._request("delete", "DELETE", resource, namespace, name, body=body)

    async def list_all(
        self,
        resource: Resource,
        namespace: str | None,
        take: Callable[[dict[str, Any]], None],
        selector: str | None = None,
        limit: int = 500,
        fields: str | None = None,
    ) -> Listing:
        """Lists a collection page by page and gives each object away, so that no more than a page is held at a time."""
        uids: set[str] = set()
        token = ""
        while True:
            query = {"limit": str(limit)}
            if selector:
                query["labelSelector"] = selector
            if fields:
                query["fieldSelector"] = fields
            if token:
                query["continue"] = token
            page = await self._request("list", "GET", resource, namespace, query=query)
            if "items" not in page:
                raise ApiError(0, "Unreadable", f"no list of {resource.plural}: {page.get('message', '')}")
            for body in page["items"]:
                take_over(resource.plural, body, take)
                uids.add(body["metadata"]["uid"])
            token = page["metadata"].get("continue", "")
            if not token:
                return Listing(frozenset(uids), int(page["metadata"]["resourceVersion"]))

    async def watch(
        self, resource: Resource, namespace: str | None, version: str, selector: str | None = None
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Events (type, object) after a version, until the server ends the watch, as it does after some minutes.

        Raises ApiError; with code 410 the version is too old: list again.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        if selector:
            query["labelSelector"] = selector
        timeout = aiohttp.ClientTimeout(total=WATCH_SECONDS + 60, connect=10)
        try:
            async with self._session.get(
                resource.path(namespace), params=query, headers=await self._headers(), timeout=timeout
            ) as response:
                API_REQUESTS.labels("watch", resource.plural, str(response.status)).inc()
                if response.status >= 400:
                    raise self._error(response, await response.read())
                async for line in response.content:
                    event = json_text.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiError(int(status.get("code", 0)), status.get("reason", ""), status.get("message", ""))
                    yield event["type"], event["object"]
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiError(0, "Unreachable", str(error) or type(error).__name__) from error

    async def _request(
        self,
        verb: str,
        method: str,
        resource: Resource,
        namespace: str | None,
        name: str | None = None,
        subresource: str | None = None,
        *,
        body: Any = None,
        query: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        await self._until_not_busy()
        if method != "GET" and not self.may_write():
            raise ApiError(0, "NotLeading", "another operator leads: this one must not write")
        started = time.monotonic()
        code = 0
        headers = await self._headers()
        if body is not None:
            headers["Content-Type"] = JSON_PATCH if method == "PATCH" else "application/json"
        try:
            async with self._session.request(
                method,
                resource.path(namespace, name, subresource),
                params=query,
                data=None if body is None else orjson.dumps(body),
                headers=headers,
                timeout=TIMEOUT,
            ) as response:
                code = response.status
                data = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ApiError(0, "Unreachable", str(error) or type(error).__name__) from error
        finally:
            what = resource.plural if subresource is None else f"{resource.plural}/{subresource}"
            API_REQUESTS.labels(verb, what, str(code)).inc()
            API_REQUEST_SECONDS.labels(verb, what).observe(time.monotonic() - started)
        if code >= 400:
            raise self._error(response, data)
        return _parse(data)

    async def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        token = (await self._configuration.auth_settings()).get("BearerToken")
        if token is not None:
            headers["Authorization"] = str(token["value"])
        return headers

    def _error(self, response: aiohttp.ClientResponse, data: bytes) -> ApiError:
        answer, given = _parse(data), response.headers.get("Retry-After", "")
        wait = float(given) if given.isdigit() else None
        if response.status == 429:
            seconds = min(BUSY_SECONDS if wait is None else wait, BUSY_MAX_SECONDS)
            self._busy_until = max(self._busy_until, time.monotonic() + seconds)
        return ApiError(response.status, str(answer.get("reason", "")), str(answer.get("message", "")), wait)

    async def _until_not_busy(self) -> None:
        """A server that says that it has too much to do says it to all of us."""
        if (left := self._busy_until - time.monotonic()) > 0:
            await asyncio.sleep(left)


def _parse(data: bytes) -> dict[str, Any]:
    try:
        value = json_text.loads(data)
    except ValueError:
        return {"message": data[:500].decode(errors="replace")}
    return value if isinstance(value, dict) else {"message": str(value)[:500]}
