"""What S3's errors mean in the user's words: endpoint, bucket, key, secret, what the server said, what to check.

Called by `s3`. Never shows a secret key.
"""

from __future__ import annotations

from dataclasses import dataclass

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ReadTimeoutError,
)

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_WRONG_KEYS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "TokenRefreshRequired",
    "XAdminUserNotFound",  # versitygw's word for an unknown access key
)
_NO_RIGHT = ("AccessDenied", "403", "Forbidden", "AllAccessDisabled")


@dataclass(frozen=True)
class Target:
    """Whom we asked."""

    endpoint: str | None
    bucket: str
    secret: str | None

    @property
    def server(self) -> str:
        return self.endpoint or "AWS S3"

    @property
    def keys(self) -> str:
        return f"secret {self.secret!r}" if self.secret else "the worker's own AWS credentials"


def missing_keys(target: Target, missing: list[str]) -> str:
    """The secret is not there, or lacks keys."""
    name = f"secret {target.secret!r}" if target.secret else "the mounted secret"
    return (
        f"S3 at {target.server}, bucket {target.bucket!r}: {name} does not exist or lacks {' and '.join(missing)};"
        f" create it in the job's namespace with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )


def explain(error: Exception, target: Target, key: str, what: str) -> str:
    """One sentence about an error of boto3 while it tried to `what` (read, write, list, delete) the key."""
    where = f"S3 at {target.server}, bucket {target.bucket!r}, key {key!r}: cannot {what}"
    if isinstance(error, NoCredentialsError):
        return f"{where}: there are no credentials; name a secret in spec.storage.s3.secretName"
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError, ReadTimeoutError, HTTPClientError)):
        return (
            f"{where}: the endpoint cannot be reached ({_last_line(error)}); check spec.storage.s3.endpoint, that the"
            " server runs and that network policies let the workers reach it"
        )
    cause = error if isinstance(error, ClientError) else error.__cause__ or error.__context__
    if not isinstance(cause, ClientError):
        return f"{where}: {_last_line(error)} (keys from {target.keys})"
    code = str(cause.response.get("Error", {}).get("Code", ""))
    said = f"the server said {code}: {cause.response.get('Error', {}).get('Message', '')}".rstrip(": ")
    if code == "NoSuchBucket" or (code in ("404", "NotFound") and what == "list"):
        return f"{where}: the bucket does not exist ({said}); create bucket {target.bucket!r} or correct the URI"
    if code in _WRONG_KEYS:
        return f"{where}: the keys are wrong ({said}); check {' and '.join(KEYS)} in {target.keys}"
    if code in _NO_RIGHT:
        return f"{where}: access is denied ({said}); check {target.keys} and the bucket's policy"
    return f"{where}: {said} (keys from {target.keys})"


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
