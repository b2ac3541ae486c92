"""Requests to the API server as plain JSON, on the official client's connection, credentials and TLS.

Used by the body and by resync. Answers are dicts: typed models of a thousand pods cost more than all else together.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from kerasjob_operator.metrics import API_REQUEST_SECONDS, API_REQUESTS

TIMEOUT_SECONDS = 30
JSON_PATCH = "application/json-patch+json"


@dataclass
class ApiError(Exception):
    """The API server's `Status` with a code of 400 or more; code 0: it could not be reached."""

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
    """One connection pool to one API server."""

    def __init__(self, api_client: client.ApiClient) -> None:
        self._client = api_client

    @classmethod
    async def connect(cls, kubeconfig: str | None = None) -> KubernetesApi:
        """From the pod's service account, or from a kubeconfig: the given one, or that of KUBECONFIG."""
        configuration = client.Configuration()
        configuration.connection_pool_maxsize = 100
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            await config.load_kube_config(kubeconfig, client_configuration=configuration)
        return cls(client.ApiClient(configuration))

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        """Reads one object."""
        return await self._request("GET", resource, namespace, name, verb="get")

    async def create(
        self, resource: Resource, namespace: str, body: dict[str, Any], strict: bool = False
    ) -> dict[str, Any]:
        """Creates an object. strict: unknown fields are an error instead of being dropped."""
        query = [("fieldValidation", "Strict")] if strict else []
        return await self._request("POST", resource, namespace, body=body, query=query, verb="create")

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, patch: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """JSON-patches the status subresource."""
        return await self._request(
            "PATCH", resource, namespace, name, "status", body=patch, content_type=JSON_PATCH, verb="patch"
        )

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str, *, force: bool = False
    ) -> dict[str, Any]:
        """Deletes an object if it still has this uid; answers the object as it goes, or a Status. `force`: nobody is
        waited for."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if force:
            body["gracePeriodSeconds"] = 0
        return await self._request("DELETE", resource, namespace, name, body=body, verb="delete")

    async def list_all(
        self, resource: Resource, namespace: str | None, selector: str | None = None, limit: int = 500
    ) -> tuple[list[dict[str, Any]], int]:
        """Lists a collection, page by page; the items, and the version of which all pages are."""
        items: list[dict[str, Any]] = []
        token = ""
        while True:
            query = [("limit", str(limit))]
            query += [("labelSelector", selector)] if selector else []
            query += [("continue", token)] if token else []
            page = await self._request("GET", resource, namespace, query=query, verb="list")
            items += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return items, int(page["metadata"]["resourceVersion"])

    async def _request(
        self,
        method: str,
        resource: Resource,
        namespace: str | None,
        name: str | None = None,
        subresource: str | None = None,
        *,
        verb: str,
        body: Any = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        started = time.monotonic()
        code = 0
        try:
            parameters = await self._client.param_serialize(
                method,
                resource.path(namespace, name, subresource),
                query_params=query or [],
                header_params={"Content-Type": content_type, "Accept": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(
                *parameters, _request_timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
            )
            code = response.status
            data = await response.read()
            retry_after = response.headers.get("Retry-After")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ApiError(0, "Unreachable", str(error) or type(error).__name__) from error
        finally:
            what = resource.plural if subresource is None else f"{resource.plural}/{subresource}"
            API_REQUESTS.labels(verb, what, str(code)).inc()
            API_REQUEST_SECONDS.labels(verb, what).observe(time.monotonic() - started)
        answer = _parse(data)
        if code >= 400:
            raise ApiError(
                code,
                str(answer.get("reason", "")),
                str(answer.get("message", "")),
                float(retry_after) if retry_after and retry_after.isdigit() else None,
            )
        return answer


def _parse(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {"message": data[:500].decode(errors="replace")}
    return value if isinstance(value, dict) else {"message": str(value)[:500]}
