"""What boto3 raises and what S3 answers, as one line that names the URI and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from urllib3.exceptions import HTTPError

from nasi_ray.errors import StorageError, StorageRefusedError

_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or an instance role"
_TOKEN = "set AWS_SESSION_TOKEN to that of the access key, or unset it for a key that needs none"
# S3 itself, its sister services, and services that are compatible name them differently.
_EXPIRED_TOKENS = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired")
_BAD_TOKENS = ("InvalidToken", "InvalidTokenId", "InvalidClientTokenId", "InvalidSecurity")
_ADVICE_OF_CODE = {
    "AccessDenied": "allow s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and "
    "s3:DeleteObject below the prefix",
    "NoSuchBucket": "create the bucket, or correct its name",
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    **dict.fromkeys(_EXPIRED_TOKENS, "renew the AWS session and start again"),
    **dict.fromkeys(_BAD_TOKENS, _TOKEN),
    "RequestTimeTooSkewed": "set the clock of this machine",
    "QuotaExceeded": "free some space there, or use another bucket",
    "NotImplemented": "use an S3 service with conditional writes",
}
# What botocore.retries.standard calls throttling; S3-compatible services send any of them.
_THROTTLING_CODES = {
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
}
_PASSING_CODES = _THROTTLING_CODES | {
    "BadDigest",
    "ConditionalRequestConflict",
    *_EXPIRED_TOKENS,
    "IncompleteBody",
    "OperationAborted",
    "QuotaExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "TooManyRequests",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_PASSING_STATUSES = {408, 429}
_NOT_IMPLEMENTED = 501
_PRECONDITION_FAILED = 412
# With another status: a write under way at the same time, and a name that is taken.
_CONDITION_FAILED = {"PreconditionFailed", "ConditionalRequestConflict", "FileAlreadyExists"}
_MISSING = {"NoSuchKey"}
_TRANSIENT = (BotoConnectionError, HTTPClientError, IncompleteReadError, FlexibleChecksumError)

BROKEN_BODY = (*_TRANSIENT, HTTPError, OSError)
"""What reading the body of an answer raises if the body is not all there, or altered."""


class AnswerError(Exception):
    """An answer came that no S3 service gives; ``one_line_errors`` reports it."""

    def __init__(
        self,
        reason: str,
        advice: str = "check the network and AWS_ENDPOINT_URL, and try again",
        *,
        is_retryable: bool = True,
    ) -> None:
        super().__init__(reason)
        self.advice = advice
        self.is_retryable = is_retryable


@contextmanager
def one_line_errors(action: str, uri: str) -> Iterator[None]:
    """Turn everything boto3 raises into ``StorageError``, or ``StorageRefusedError``.

    Args:
        action: What was tried, as in "cannot <action> <uri>".
        uri: The object or prefix it was tried on.
    """
    try:
        yield
    except AnswerError as error:
        kind = StorageError if error.is_retryable else StorageRefusedError
        raise kind(f"cannot {action} {uri}: {error}; {error.advice}") from error
    except (ClientError, BotoCoreError) as error:
        reason, advice = _explain(error)
        kind = StorageError if is_retryable(error) else StorageRefusedError
        raise kind(f"cannot {action} {uri}: {reason}; {advice}") from error


def is_condition_failed(error: ClientError) -> bool:
    """Whether a conditional request was refused because its condition does not hold."""
    return _status(error) == _PRECONDITION_FAILED or _code(error) in _CONDITION_FAILED


def is_missing(error: ClientError) -> bool:
    """Whether there is no such object (the bucket exists)."""
    return _code(error) in _MISSING


def is_of_no_s3(error: ClientError) -> bool:
    """Whether something refused that is no S3 service: it gives no reason as S3 does."""
    status = _status(error)
    # botocore makes the code of the status where no XML tells it, and a status 500 of a 200 with a
    # page that it cannot parse. Services that fail, and conditions that do, may give no reason.
    has_code = _code(error) != str(status) or is_condition_failed(error)
    may_fail = is_retryable(error) and not (status == 500 and is_html(error.response))
    return not has_code and not may_fail


def is_html(answer: Mapping[str, Any]) -> bool:
    """Whether an answer is a web page by its own account."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("content-type", "")).lower().startswith("text/html")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_retryable(error: ClientError | BotoCoreError) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, ClientError):
        status = _status(error)
        is_failing = status >= 500 and status != _NOT_IMPLEMENTED
        return is_failing or status in _PASSING_STATUSES or _code(error) in _PASSING_CODES
    if isinstance(error, _TRANSIENT):
        return True
    # An instance's metadata service, which hands out the credentials, is at times slow to answer.
    return isinstance(error, NoCredentialsError)


def _explain(error: ClientError | BotoCoreError) -> tuple[str, str]:
    if isinstance(error, ClientError):
        return _explain_answer(error)
    reason = " ".join(str(error).split())
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return reason, _CREDENTIALS
    if isinstance(error, ProfileNotFound):
        return reason, "correct AWS_PROFILE, or unset it"
    if isinstance(error, _TRANSIENT):
        return reason, "check the network, AWS_ENDPOINT_URL and AWS_REGION, and try again"
    return reason, "check the AWS settings (environment and ~/.aws)"


def _explain_answer(error: ClientError) -> tuple[str, str]:
    code = _code(error)
    answer = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    status = _status(error)
    attempts = metadata.get("RetryAttempts", 0) + 1
    message = " ".join(str(answer.get("Message", "")).split()).rstrip(".")
    reason = f"{code} (HTTP {status}, attempt {attempts}) {message}".strip()
    if advice := _ADVICE_OF_CODE.get(code):
        return reason, advice
    if is_retryable(error):
        return reason, "the service is failing or overloaded: try again"
    if 300 <= status < 400:
        return reason, (
            "the service redirects to another address: correct AWS_REGION or AWS_ENDPOINT_URL"
        )
    if "checksum" in message.lower() or "x-amz-sdk" in message.lower():
        return reason, "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
    if status == 401:
        return reason, _CREDENTIALS
    if status == 403:
        return reason, _ADVICE_OF_CODE["AccessDenied"]
    return reason, "check the AWS settings (environment and ~/.aws)"
