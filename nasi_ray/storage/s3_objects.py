"""The objects of a bucket. No answer counts as one of S3 that lacks what S3 always sends.

Proxies, overloaded gateways and web servers answer 200 too: a PUT that nobody stored, an empty
list, a body of something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from nasi_ray.errors import DataError
from nasi_ray.storage.s3_errors import BROKEN_BODY, AnswerError, is_html, is_of_no_s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_DELETED = 1000
"""Most objects that one request deletes, by S3's own rule."""
_MAX_TRIES = 3
_LONGEST_REASON = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An object as it was read."""

    data: bytes
    etag: str
    age_s: float
    """Since it was written, both times by the clock of the server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """An object as a list has it."""

    key: str
    size: int
    """In bytes."""
    etag: str


class S3Objects:
    """Puts, gets, lists and deletes.

    Each method raises ClientError or BotoCoreError, as botocore does, or AnswerError for whatever
    else comes of the answer; ``s3_errors.one_line_errors`` knows them.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._has_answered = False

    def put(self, key: str, data: bytes, **condition: str) -> str:
        """Write an object; its ETag."""
        with self._answers("PUT"):
            answer = self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=data,
                **condition,  # type: ignore[arg-type]
            )
            self._check(answer, "ETag")
            return answer["ETag"]

    def get(self, key: str, *, limit: int | None = None) -> Found:
        """Read an object whole; a body that breaks off or has a wrong checksum is read again.

        Args:
            key: Of the object.
            limit: Most bytes that it may have.

        Raises:
            DataError: If it has more.
        """
        return self._read(lambda: self._get(key, limit=limit))

    def get_part(self, key: str, start: int, size: int, etag: str) -> bytes:
        """Read ``size`` bytes of an object that has that ETag, else fail as a condition does."""
        span = f"bytes={start}-{start + size - 1}"
        data = self._read(lambda: self._get(key, Range=span, IfMatch=etag)).data
        if len(data) != size:
            raise AnswerError(f"received {len(data)} of the {size} bytes asked for")
        return data

    def _read(self, get: Callable[[], Mapping[str, Any]]) -> Found:
        for _ in range(_MAX_TRIES - 1):
            answer = get()
            with self._answers("GET"), suppress(*BROKEN_BODY):
                return _found(answer)
        answer = get()
        with self._answers("GET"):
            return _found(answer)

    def keys(self, prefix: str) -> list[str]:
        """All keys that start with ``prefix``, in any order."""
        return [item.key for item in self.listed(prefix)]

    def listed(self, prefix: str) -> list[Listed]:
        """All objects whose keys start with ``prefix``, in any order."""
        found: list[Listed] = []
        tokens: list[str] = []
        while True:
            with self._answers("a list request"):
                page = self._client.list_objects_v2(
                    Bucket=self._bucket,
                    Prefix=prefix,
                    **({"ContinuationToken": tokens[-1]} if tokens else {}),  # type: ignore[arg-type]
                )
                self._check(page, "IsTruncated")
                for item in page.get("Contents", []):
                    if not item["Key"].startswith(prefix) or not item["LastModified"]:
                        raise AnswerError(f"{item['Key']!r} is listed, not below {prefix!r}")
                    found.append(Listed(key=item["Key"], size=item["Size"], etag=item["ETag"]))
                if not page["IsTruncated"]:
                    return found
                token = page["NextContinuationToken"]
                if token in tokens:
                    raise AnswerError("a page of the list comes again")
                tokens.append(token)

    def delete(self, key: str, **condition: str) -> None:
        """Delete an object; it is no error if there is none."""
        with self._answers("DELETE"):
            answer = self._client.delete_object(
                Bucket=self._bucket,
                Key=key,
                **condition,  # type: ignore[arg-type]
            )
            headers = answer["ResponseMetadata"]["HTTPHeaders"]
            if headers.get("content-length", "0") != "0":
                raise self._no_s3() if is_html(answer) else AnswerError("a body came back")
            self._has_answered = True

    def delete_many(self, keys: Sequence[str]) -> set[str]:
        """Delete up to ``MAX_DELETED`` objects by one request.

        Returns:
            Those that the answer says are gone.
        """
        with self._answers("DELETE"):
            answer = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys]}
            )
            return {item["Key"] for item in answer.get("Deleted", [])} & set(keys)

    def _get(self, key: str, *, limit: int | None = None, **part: str) -> Mapping[str, Any]:
        with self._answers("GET"):
            answer: Mapping[str, Any] = self._client.get_object(
                Bucket=self._bucket,
                Key=key,
                **part,  # type: ignore[arg-type]
            )
            try:
                self._check(answer, "ETag", "ContentLength", "LastModified")
                if "ContentRange" in answer and not part:
                    raise AnswerError(f"received only {answer['ContentRange']}")
                came = answer.get("ContentRange", "the whole object")
                if part and not came.startswith(part["Range"].replace("=", " ") + "/"):
                    raise AnswerError(f"received {came} instead of {part['Range']}")
                if limit is not None and answer["ContentLength"] > limit:
                    raise DataError(
                        f"s3://{self._bucket}/{key}: has {answer['ContentLength']} bytes; at "
                        f"most {limit} are allowed"
                    )
            except (AnswerError, DataError):
                answer["Body"].close()
                raise
            return answer

    @contextmanager
    def _answers(self, request: str) -> Iterator[None]:
        try:
            yield
        except (AnswerError, BotoCoreError, DataError, MemoryError) as error:
            if _is_endless(error):
                raise self._redirected() from error
            raise
        except ClientError as error:
            if is_of_no_s3(error):
                raise self._no_s3() from error
            raise
        except RecursionError as error:
            raise self._redirected() from error
        except Exception as error:
            # A missing field, malformed XML or dates, whatever urllib3 lets through: botocore has
            # no list of what an answer can make it raise.
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
            raise AnswerError(f"{request} failed ({reason})") from error

    def _redirected(self) -> AnswerError:
        # botocore follows a redirect that names no region for ever.
        return AnswerError(
            f"{self._client.meta.endpoint_url} redirects to another address",
            "correct AWS_REGION or AWS_ENDPOINT_URL",
            is_retryable=self._has_answered,
        )

    def _check(self, answer: Mapping[str, Any], *names: str) -> None:
        missing = [name for name in names if answer.get(name) in (None, "", '""')]
        if missing:
            if is_html(answer):
                raise self._no_s3()
            metadata = answer["ResponseMetadata"]
            kind = metadata["HTTPHeaders"].get("content-type", "no content type")
            raise AnswerError(
                f"the answer has no {' and no '.join(missing)} "
                f"(HTTP {metadata['HTTPStatusCode']}, {kind})"
            )
        self._has_answered = True

    def _no_s3(self) -> AnswerError:
        return AnswerError(
            f"what answers at {self._client.meta.endpoint_url} is a web server, not an S3 service",
            "correct AWS_ENDPOINT_URL",
            # Of an endpoint that was one, a gateway before it has failed.
            is_retryable=self._has_answered,
        )


def _is_endless(error: Exception) -> bool:
    """Whether the recursion of endless redirects ended inside botocore's HTTP client."""
    return isinstance(getattr(error, "kwargs", {}).get("error"), RecursionError)


def _found(answer: Mapping[str, Any]) -> Found:
    with closing(answer["Body"]) as body:
        data: bytes = body.read()
    if len(data) != answer["ContentLength"]:
        raise AnswerError(f"received {len(data)} of {answer['ContentLength']} bytes")
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    if now.tzinfo is None:
        now = now.replace(tzinfo=UTC)
    age_s = (now - answer["LastModified"]).total_seconds()
    return Found(data=data, etag=answer["ETag"], age_s=max(0.0, age_s))
