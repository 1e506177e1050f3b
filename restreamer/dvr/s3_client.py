"""One bucket of an object store that speaks S3, through botocore. Everything blocks and is called in threads.

Every error is an L{ObjectStoreError} with a text for people, in which no key and no secret stands.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any

from attrs import frozen

from restreamer.config.model import S3Config
from restreamer.dvr.s3_answers import AnswerError, BoundedSession, read_at_most

#: Seconds to reach the store, and to wait for its next bytes.
CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
#: What is larger goes up in parts of so many bytes (a store takes at least 5 MiB and at most 10,000 of them).
PART_BYTES = 16 * 1024 * 1024
#: Connections at once.
CONNECTIONS = 10
#: Names that one listing may have: a day has some hundreds, a stream a day object for each day.
MAX_NAMES = 100_000
MAX_PAGES = 1000

_REGION = re.compile(r"//s3[.-]([a-z]{2}(?:-[a-z]+)+-[0-9])\.amazonaws\.com")
_REGION_ELSEWHERE = "us-east-1"
_MISSING = {"404", "NoSuchKey", "NotFound", "NoSuchUpload"}
_REFUSED = {
    "401": "the object store does not know these credentials",
    "403": "the object store refuses access with these credentials",
    "AccessDenied": "the object store refuses access with these credentials",
    "AllAccessDisabled": "the object store refuses access with these credentials",
    "ExpiredToken": "the credentials have expired",
    "InvalidAccessKeyId": "the object store does not know this key",
    "SignatureDoesNotMatch": "the secret is wrong",
    "RequestTimeTooSkewed": "the clock of this node differs too much from that of the object store",
    "BadDigest": "what arrived at the object store was not what was sent",
    "SlowDown": "the object store asks for fewer requests",
}


class ObjectStoreError(Exception):
    """What an object store could not do, said so that it can be shown."""


class ObjectMissingError(ObjectStoreError):
    """There is no such object."""


@frozen
class ObjectFacts:
    """An object.

    @ivar name: in the bucket, behind the prefix. @ivar size: bytes. @ivar etag: changes with it.
    """

    name: str
    size: int
    etag: str


class S3Bucket:
    """A bucket, and the part of it below a prefix.

    @param config: where, and as whom. @param part_bytes: of a part of a large object.
    @ivar utc: what time the store said it was when it was listed last, seconds since the epoch; None: it did
        not say.
    @raise ObjectStoreError: botocore is not installed.
    """

    def __init__(
        self, config: S3Config, part_bytes: int = PART_BYTES, read_seconds: float = READ_SECONDS
    ) -> None:
        try:
            import botocore.config
            import botocore.exceptions
            import botocore.session
        except ImportError:
            raise ObjectStoreError("copies need botocore: pip install 'restreamer[s3]'") from None
        self.config = config
        self.utc: float | None = None
        self._prefix = f"{config.prefix}/" if config.prefix else ""
        self._part_bytes = part_bytes
        region = _REGION.search(config.endpoint)
        session = botocore.session.Session()
        self._client: Any = session.create_client(
            "s3",
            endpoint_url=config.endpoint,
            region_name=region[1] if region else session.get_config_variable("region") or _REGION_ELSEWHERE,
            aws_access_key_id=config.key or None,
            aws_secret_access_key=config.secret or None,
            config=botocore.config.Config(
                signature_version="s3v4",
                connect_timeout=CONNECT_SECONDS,
                read_timeout=read_seconds,
                max_pool_connections=CONNECTIONS,
                retries={"mode": "standard", "total_max_attempts": 2},
                s3={"addressing_style": "path"},
                # Many stores do not know the newer checksums; each body has its MD5, which all of them check.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        # Asked for where a bucket is when a store redirects, it asks again when that is redirected, for ever.
        self._client.meta.events.register("before-call.s3.HeadBucket", _nobody_knows)
        endpoint = self._client._endpoint
        endpoint.http_session = BoundedSession(endpoint.http_session, botocore.exceptions.HTTPClientError)

    def get(self, name: str, most: int) -> bytes:
        """An object.

        @param most: bytes that it may have. @raise ObjectMissingError: it is not there.
        """
        with self._told():
            answer = self._client.get_object(Bucket=self.config.bucket, Key=self._prefix + name)
            data = _body(answer, most)
        if data is None:
            raise ObjectStoreError(f"an object has more than {most} bytes: {name}")
        return data

    def get_range(self, name: str, offset: int, size: int) -> bytes:
        """Bytes of an object; less than C{size} when it ends before.

        @raise ObjectMissingError: it is not there.
        """
        wanted = f"bytes={offset}-{offset + size - 1}"
        with self._told():
            answer = self._client.get_object(Bucket=self.config.bucket, Key=self._prefix + name, Range=wanted)
            if "ContentRange" not in answer:
                answer["Body"].close()
                raise ObjectStoreError("the object store gives whole objects where parts are asked for")
            data = _body(answer, size)
        if data is None:
            raise ObjectStoreError(f"a part of an object is longer than was asked for: {name}")
        return data

    def facts(self, name: str) -> ObjectFacts:
        """What there is under a name. @raise ObjectMissingError: nothing."""
        with self._told():
            answer = self._client.head_object(Bucket=self.config.bucket, Key=self._prefix + name)
            return ObjectFacts(name, answer["ContentLength"], answer["ETag"].strip('"'))

    def names(self, prefix: str) -> list[ObjectFacts]:
        """The objects whose names begin with C{prefix}, in order."""
        found = []
        pages_left = MAX_PAGES
        with self._told():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.config.bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                self.utc = _date(page)
                for each in page.get("Contents", ()):
                    if each["Key"].startswith(self._prefix + prefix):
                        name = each["Key"][len(self._prefix) :]
                        found.append(ObjectFacts(name, each["Size"], each["ETag"].strip('"')))
                pages_left -= 1
                if len(found) > MAX_NAMES or pages_left <= 0:
                    raise ObjectStoreError("the object store lists names without an end")
        return found

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        with self._told():
            self._client.delete_object(Bucket=self.config.bucket, Key=self._prefix + name)

    def put(self, name: str, data: bytes) -> None:
        """Write a small object, and see that it is there."""
        self._put(name, data)
        self._verify(name, len(data), hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest())

    def put_file(
        self,
        name: str,
        read: Callable[[int, int], bytes],
        size: int,
        sha256: str,
        pace: Callable[[int], None],
    ) -> None:
        """Write a large object, and see that it is there as it should be.

        @param read: bytes at an offset. @param sha256: of all. @param pace: waits before so many are sent.
        """
        if size <= self._part_bytes:
            pace(size)
            data = read(0, size)
            self._put(name, data)
            etag = hashlib.md5(data).hexdigest()
        else:
            etag = self._put_parts(name, read, size, pace)
        self._verify(name, size, sha256, etag)

    def has(self, name: str, size: int, sha256: str) -> bool:
        """Whether an object is there already, as it should be; its bytes are read for that."""
        try:
            if self.facts(name).size != size:
                return False
        except ObjectMissingError:
            return False
        return self._sha256(name, size) == sha256

    # Inside.

    def _put(self, name: str, data: bytes) -> None:
        with self._told():
            self._client.put_object(
                Bucket=self.config.bucket, Key=self._prefix + name, Body=data, ContentMD5=_md5(data)
            )

    def _put_parts(
        self, name: str, read: Callable[[int, int], bytes], size: int, pace: Callable[[int], None]
    ) -> str:
        """@return: the tag that the object should have."""
        where = {"Bucket": self.config.bucket, "Key": self._prefix + name}
        with self._told():
            where["UploadId"] = self._client.create_multipart_upload(**where)["UploadId"]
        try:
            parts = []
            digests = []
            for number, offset in enumerate(range(0, size, self._part_bytes), 1):
                length = min(self._part_bytes, size - offset)
                pace(length)
                data = read(offset, length)
                with self._told():
                    answer = self._client.upload_part(
                        **where, PartNumber=number, Body=data, ContentMD5=_md5(data)
                    )
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
                digests.append(hashlib.md5(data).digest())
            with self._told():
                self._client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        except BaseException:
            try:
                with self._told():
                    self._client.abort_multipart_upload(**where)
            except ObjectStoreError:
                # The store is away: a rule of the bucket takes such parts away.
                pass
            raise
        return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"

    def _verify(self, name: str, size: int, sha256: str, etag: str) -> None:
        facts = self.facts(name)
        if facts.size != size:
            raise ObjectStoreError(f"an object has {facts.size} bytes, not {size}: {name}")
        # The tag is the MD5 in most stores, and need not be.
        if facts.etag != etag and self._sha256(name, size) != sha256:
            raise ObjectStoreError(f"an object is not what was sent: {name}")

    def _sha256(self, name: str, size: int) -> str:
        digest = hashlib.sha256()
        for offset in range(0, size, self._part_bytes):
            digest.update(self.get_range(name, offset, min(self._part_bytes, size - offset)))
        return digest.hexdigest()

    @contextmanager
    def _told(self) -> Iterator[None]:
        from botocore import exceptions, parsers
        from urllib3.exceptions import HTTPError

        endpoint, bucket = self.config.endpoint, self.config.bucket
        try:
            yield
        except exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code == "NoSuchBucket":
                raise ObjectStoreError(f"the object store has no bucket {bucket}") from None
            if code in _MISSING:
                raise ObjectMissingError("the object is not there") from None
            text = _REFUSED.get(code, f"the object store answers {code or 'with an error'}")
            raise ObjectStoreError(text) from None
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
            raise ObjectStoreError("there are no credentials for the object store") from None
        except exceptions.SSLError:
            raise ObjectStoreError(f"the certificate of {endpoint} is not trusted") from None
        except (exceptions.ResponseStreamingError, exceptions.IncompleteReadError, AnswerError):
            raise ObjectStoreError(f"{endpoint} does not send what it began to send") from None
        except (exceptions.ParamValidationError, exceptions.PaginationError, parsers.ResponseParserError):
            raise ObjectStoreError(f"what {endpoint} answers is not S3") from None
        except (exceptions.BotoCoreError, HTTPError, OSError) as error:
            raise ObjectStoreError(f"{endpoint} cannot be reached ({type(error).__name__})") from None
        except (KeyError, ValueError, TypeError, AttributeError):
            # Something that every S3 store says is not there, or is something else.
            raise ObjectStoreError(f"what {endpoint} answers is not S3") from None


def _nobody_knows(**_: object) -> tuple[object, object]:
    """An answer to a question that is not sent: there is nothing in it."""
    return SimpleNamespace(status_code=200), {"ResponseMetadata": {"HTTPHeaders": {}}}


def _body(answer: Any, most: int) -> bytes | None:
    """The body of an answer, all of it; None: it is longer than C{most}.

    @raise AnswerError: it ended early, or takes too long.
    """
    with answer["Body"] as raw:
        length = answer["ContentLength"]
        if length > most:
            return None
        data = read_at_most(raw, length)
    if len(data) != length:
        raise AnswerError("an answer ended early")
    return data


def _date(answer: Any) -> float | None:
    """What time an answer says that it is."""
    try:
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()
