"""A store in S3, by boto3. Opened by `open_store`. Errors are put into words by `s3_words`."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kerasjob_api.wire import S3Access
from kerasjob_trainer.digests import OncePerFile
from kerasjob_trainer.log import log
from kerasjob_trainer.store import Entry, StoreError
from kerasjob_trainer.store.s3_words import KEYS, Target, explain, missing_keys

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef, HeadObjectOutputTypeDef

CONNECT_SECONDS = 5
READ_SECONDS = 30
_DELETE_AT_ONCE = 1000  # the most that one request may name
_PART_BYTES = 8 * 1024**2  # of what is larger
_TRANSFER = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES)
_ABSENT = ("404", "NoSuchKey", "NotFound")


class S3Store:
    """See `Store`. Keys are read from the mounted secret when the store is opened: open it again after it changed."""

    def __init__(self, bucket: str, prefix: str, s3: S3Access, s3_dir: Path) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.uri = f"s3://{bucket}/{prefix}"
        self._target = Target(s3.endpoint, bucket, s3.secret_name)
        self._can_condition = True
        self._encryption = _encryption(s3)
        self._client: S3Client = boto3.session.Session().client(
            "s3",
            endpoint_url=s3.endpoint,
            region_name=s3.region,
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"max_attempts": 3, "mode": "standard"},
                s3={
                    "addressing_style": _addressing_style(s3),
                    # All that counts is hashed already, and verified when it is restored.
                    "payload_signing_enabled": False,
                },
                # Checksums that are newer than many servers are asked for only where the protocol needs them.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
            **_keys(s3, s3_dir, self._target),
        )

    def put_file(self, key: str, path: Path) -> None:
        with self._explained(key, "write"):
            self._client.upload_file(str(path), self.bucket, self.prefix + key, self._encryption, Config=_TRANSFER)

    def copy(self, source: str, key: str, path: Path) -> bool:
        with self._explained(key, "write"):
            try:
                if not _is_of(path, self._client.head_object(Bucket=self.bucket, Key=self.prefix + source)):
                    return False
                self._client.copy(
                    {"Bucket": self.bucket, "Key": self.prefix + source},
                    self.bucket,
                    self.prefix + key,
                    ExtraArgs=self._encryption,
                    Config=_TRANSFER,
                )
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return False
                raise
            return True

    def begin_parts(self, key: str) -> str:
        with self._explained(key, "write"):
            begun = self._client.create_multipart_upload(Bucket=self.bucket, Key=self.prefix + key, **self._encryption)
            return begun["UploadId"]

    def put_part(self, key: str, upload: str, number: int, content: bytes) -> str:
        with self._explained(key, "write"):
            part = self._client.upload_part(
                Bucket=self.bucket, Key=self.prefix + key, UploadId=upload, PartNumber=number, Body=content
            )
            return part["ETag"]

    def end_parts(self, key: str, upload: str, tags: list[str]) -> None:
        parts: list[CompletedPartTypeDef] = [
            {"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, start=1)
        ]
        with self._explained(key, "write"):
            self._client.complete_multipart_upload(
                Bucket=self.bucket, Key=self.prefix + key, UploadId=upload, MultipartUpload={"Parts": parts}
            )

    def drop_parts(self, key: str, upload: str) -> None:
        # Where this fails too, the bucket's own rules for parts that were left behind take them away.
        with contextlib.suppress(BotoCoreError, ClientError):
            self._client.abort_multipart_upload(Bucket=self.bucket, Key=self.prefix + key, UploadId=upload)

    def put_if_absent(self, key: str, content: bytes) -> bool:
        with self._explained(key, "write"):
            if not self._can_condition:
                return self._put_unless_seen(key, content)
            try:
                self._put(key, content, IfNoneMatch="*")
            except ClientError as error:
                code = _code(error)
                if code in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
                    return False
                if code not in ("NotImplemented", "501"):
                    raise
                log.warning("the store cannot write conditionally: what is there is looked for before each commit")
                self._can_condition = False
                return self._put_unless_seen(key, content)
            return True

    def get(self, key: str) -> bytes | None:
        with self._explained(key, "read"):
            try:
                return self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].read()
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise

    def get_file(self, key: str, path: Path) -> bool:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained(key, "read"):
            try:
                self._client.download_file(self.bucket, self.prefix + key, str(path))  # renamed when it is whole
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return False
                raise
            return True

    def entries(self, prefix: str) -> list[Entry]:
        with self._explained(prefix, "list"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            found = [item for page in pages for item in page.get("Contents", [])]
        return sorted(
            (Entry(item["Key"][len(self.prefix) :], item["Size"]) for item in found), key=lambda entry: entry.key
        )

    def delete(self, keys: list[str]) -> None:
        for start in range(0, len(keys), _DELETE_AT_ONCE):
            part = keys[start : start + _DELETE_AT_ONCE]
            with self._explained(part[0], "delete"):
                self._client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": self.prefix + key} for key in part], "Quiet": True},
                )

    def delete_unfinished(self) -> None:
        """Nothing: an object appears whole, and parts of one that does not are for the bucket's rules."""

    def _put_unless_seen(self, key: str, content: bytes) -> bool:
        if self.get(key) is not None:
            return False
        self._put(key, content)
        return True

    def _put(self, key: str, content: bytes, **conditions: Any) -> None:
        self._client.put_object(
            Bucket=self.bucket, Key=self.prefix + key, Body=content, **conditions, **self._encryption
        )

    @contextlib.contextmanager
    def _explained(self, key: str, what: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, boto3.exceptions.Boto3Error) as error:
            raise StoreError(explain(error, self._target, self.prefix + key, what)) from error
        except OSError as error:
            raise StoreError(f"s3://{self.bucket}/{self.prefix}{key}: cannot {what}: {error}") from error


def _addressing_style(s3: S3Access) -> Literal["auto", "path", "virtual"]:
    if s3.addressing_style == "auto":
        return "path" if s3.endpoint else "auto"
    return "virtual" if s3.addressing_style == "virtual" else "path"


def _is_of(path: Path, head: HeadObjectOutputTypeDef) -> bool:
    """Whether an object is a file's content as the server has received it, by its size and tag. The tag of what is
    encrypted by a key of the user's says nothing; a server that has tags of its own never says yes."""
    if head["ContentLength"] != path.stat().st_size:
        return False
    return head.get("ServerSideEncryption", "").startswith("aws:kms") or head["ETag"].strip('"') == _tag(path)


def _read_tag(path: Path) -> str:
    """As S3 has it: the MD5 of what is sent at once, the MD5 of the MD5s of several parts."""
    with path.open("rb") as file:
        parts = [_md5(part).digest() for part in iter(lambda: file.read(_PART_BYTES), b"")]
    if path.stat().st_size < _PART_BYTES:
        return (parts[0] if parts else _md5(b"").digest()).hex()
    return f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"


_md5 = partial(hashlib.md5, usedforsecurity=False)
_tag = OncePerFile(_read_tag)


def _encryption(s3: S3Access) -> dict[str, Any]:
    """What each request that writes says of it."""
    if s3.encryption is None:
        return {}
    return {"ServerSideEncryption": s3.encryption} | ({"SSEKMSKeyId": s3.kms_key_id} if s3.kms_key_id else {})


def _keys(s3: S3Access, s3_dir: Path, target: Target) -> dict[str, Any]:
    """Credentials from the mounted secret; nothing where no secret is named, then boto3 looks where it always does."""
    found = {name: path.read_text().strip() for name in KEYS if (path := s3_dir / name).is_file()}
    missing = [name for name in KEYS if not found.get(name)]
    if missing and (s3.secret_name is not None or found):
        raise StoreError(missing_keys(target, missing))
    if missing:
        return {}
    token = s3_dir / "AWS_SESSION_TOKEN"
    return {
        "aws_access_key_id": found["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": found["AWS_SECRET_ACCESS_KEY"],
        "aws_session_token": (token.read_text().strip() or None) if token.is_file() else None,
    }


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
