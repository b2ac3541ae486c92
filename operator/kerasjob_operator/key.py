"""The operator's key, kept in a Secret of its own namespace and made at the first start. See docs/decisions."""

from __future__ import annotations

import base64
import secrets

from kerasjob_operator.api_client import ApiError, KubernetesApi
from kerasjob_operator.kubernetes_cluster import SECRETS

NAME = "kerasjob-operator-key"
FIELD = "key"


async def load(api: KubernetesApi, namespace: str) -> bytes:
    """The key. Made where there is none: whoever is second reads what the first one made."""
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME, "namespace": namespace},
        "immutable": True,
        "data": {FIELD: base64.b64encode(secrets.token_bytes(32)).decode()},
    }
    try:
        found = await api.get(SECRETS, namespace, NAME)
    except ApiError as error:
        if error.code != 404:
            raise
        try:
            found = await api.create(SECRETS, namespace, body)
        except ApiError as second:
            if second.code != 409:
                raise
            found = await api.get(SECRETS, namespace, NAME)
    return base64.b64decode(found["data"][FIELD])
